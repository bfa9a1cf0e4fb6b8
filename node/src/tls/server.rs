//! The serving side: which connections are let in, and with which certificate.

use super::files::{Identity, Named, identity};
use super::{ClientAuth, Mode, Settings, TlsError, provider};
use crate::socket::Rewound;
use arc_swap::ArcSwapOption;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{info, warn};

/// How soon a renewed certificate is served.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A listener's certificate, read again when its files change.
#[derive(Debug)]
pub struct ServerTls {
    settings: Settings,
    /// `None`: plain text only.
    config: ArcSwapOption<ServerConfig>,
}

impl ServerTls {
    /// `None` if TLS is disabled.
    pub(super) fn new(settings: &Settings) -> Result<Option<ServerTls>, TlsError> {
        if settings.server_mode == Mode::Disabled {
            return Ok(None);
        }
        let config = config(settings)?;
        if config.is_none() && settings.server_mode == Mode::Enforcing {
            let why = "`tls.server.mode=enforcing` needs a certificate and its key";
            return Err(TlsError::Missing { key: "tls.server.certPath", why });
        }
        if config.is_some() && settings.server_cert.is_empty() {
            warn!("`tls.test.mode.enable=true`: serving a certificate that nobody can check");
        }
        Ok(Some(ServerTls { settings: settings.clone(), config: ArcSwapOption::new(config) }))
    }

    pub(crate) fn admits_plain(&self) -> bool {
        self.settings.server_mode != Mode::Enforcing
    }

    /// The handshake. The caller sets its deadline.
    pub(crate) async fn accept(&self, stream: Rewound<TcpStream>) -> io::Result<TlsStream<Rewound<TcpStream>>> {
        let config = self.config.load_full();
        let config =
            config.ok_or_else(|| io::Error::other("TLS without `tls.server.certPath` and `tls.server.keyPath`"))?;
        Ok(TlsStream::Server(TlsAcceptor::from(config).accept(stream).await?))
    }

    /// Serves renewed files to new connections; never ends. Certificate and key are replaced one after the other: until
    /// they fit each other again the old pair is served.
    pub(crate) async fn follow_files(&self) {
        let mut served = self.stamps();
        let mut failing = false;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let stamps = self.stamps();
            if stamps == served {
                continue;
            }
            match config(&self.settings) {
                Ok(config) => {
                    self.config.store(config);
                    info!(path = self.settings.server_cert, "serving the renewed certificate");
                    (served, failing) = (stamps, false);
                }
                Err(why) if !failing => {
                    warn!(%why, "the renewed certificate cannot be served yet; the old one still is");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }

    fn stamps(&self) -> [Option<SystemTime>; 3] {
        let it = &self.settings;
        [certificate(it), private_key(it), trust(it)].map(Named::changed_at)
    }
}

fn certificate(it: &Settings) -> Named<'_> {
    Named { key: "tls.server.certPath", path: &it.server_cert }
}

fn private_key(it: &Settings) -> Named<'_> {
    Named { key: "tls.server.keyPath", path: &it.server_key }
}

fn trust(it: &Settings) -> Named<'_> {
    Named { key: "tls.server.trustCertPath", path: &it.server_trust }
}

fn config(it: &Settings) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let password = Named { key: "tls.server.keyPassword", path: &it.server_key_password };
    let identity = match identity(certificate(it), private_key(it), password)? {
        Some(identity) => identity,
        None if it.test_mode => self_signed()?,
        None => return Ok(None),
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_verifier(it)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(identity.0, identity.1)?;
    // Browsers and gRPC clients ask; RocketMQ's clients do not.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(Arc::new(config)))
}

/// RocketMQ accepts every certificate unless `authClient` is set: then asking is for show, and requiring is a trap.
fn client_verifier(it: &Settings) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    match (it.need_client_auth, it.auth_client) {
        (ClientAuth::None, false) | (ClientAuth::Optional, false) => return Ok(None),
        (ClientAuth::None, true) => {
            let why = "`tls.server.authClient=true` checks nothing until this is `optional` or `require`";
            return Err(TlsError::Missing { key: "tls.server.need.client.auth", why });
        }
        (ClientAuth::Require, false) => {
            let why = "`tls.server.need.client.auth=require` without it would accept every certificate: set it to true";
            return Err(TlsError::Missing { key: "tls.server.authClient", why });
        }
        (ClientAuth::Optional | ClientAuth::Require, true) => {}
    }
    if it.server_trust.is_empty() {
        let why = "`tls.server.authClient=true` needs the certificates that clients' ones must lead to";
        return Err(TlsError::Missing { key: "tls.server.trustCertPath", why });
    }
    let roots = Arc::new(trust(it).roots()?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder = if it.need_client_auth == ClientAuth::Optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map(Some).map_err(|e| TlsError::Refused(format!("`tls.server.trustCertPath`: {e}")))
}

fn self_signed() -> Result<Identity, TlsError> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.map_err(|e| TlsError::Refused(format!("cannot make a certificate: {e}")))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let key = key.map_err(|e| rustls::Error::General(e.to_owned()))?;
    Ok((vec![made.cert.der().clone()], key))
}
