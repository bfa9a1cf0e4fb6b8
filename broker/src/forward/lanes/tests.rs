//! Requests and masters by script.
