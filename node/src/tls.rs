//! TLS on our one port and towards others, configured by RocketMQ's `tls.*` keys.
//!
//! Where RocketMQ would encrypt without knowing for whom, this says so or refuses: a certificate that nobody checks
//! keeps nobody out.

mod client;
mod files;
mod server;
mod settings;

pub use client::ClientTls;
pub use server::ServerTls;
pub use settings::{ClientAuth, Mode, Settings};

use std::sync::Arc;
use tokio_rustls::rustls;

/// What cannot be used, and the cure. Found at start, before anything listens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("`{key}={path}`: {why}")]
    File { key: &'static str, path: String, why: String },
    #[error("`{key}` is missing: {why}")]
    Missing { key: &'static str, why: &'static str },
    #[error("{0}")]
    Refused(String),
}

impl From<rustls::Error> for TlsError {
    fn from(it: rustls::Error) -> TlsError {
        TlsError::Refused(format!("TLS: {it}"))
    }
}

/// Both sides of a process.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// `None`: a client that begins with TLS is closed.
    pub server: Option<Arc<ServerTls>>,
    /// `None`: we connect in plain text.
    pub client: Option<ClientTls>,
}

impl Tls {
    /// Reads every file that the settings name.
    pub fn new(settings: &Settings) -> Result<Tls, TlsError> {
        let settings = settings.with_file()?;
        Ok(Tls { server: ServerTls::new(&settings)?.map(Arc::new), client: ClientTls::new(&settings)? })
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests;
