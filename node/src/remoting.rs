//! RocketMQ remoting over TCP: [`server`] answers, [`client`] asks. Both read and write many frames per system call.

pub mod client;
mod farewell;
mod frames;
mod idle;
mod patience;
mod pending;
pub mod server;

pub use client::{CallError, Client, ClientConnection, ClientOptions};
pub use server::{Connection, Handler, Reply};
