//! What each of our processes needs that is neither wire format nor decision: the one-port listener, the remoting
//! server and client, properties files, logs, shutdown, clock. Knows no topic, no replica, no epoch.

pub mod access;
pub mod clock;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod properties;
pub mod remoting;
pub mod shutdown;
pub mod socket;
pub mod telemetry;
pub mod throttle;
pub mod tls;
