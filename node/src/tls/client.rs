//! The asking side: whom we believe, and who we say we are.

use super::files::{Named, identity};
use super::{Settings, TlsError, provider};
use crate::socket::{Rewound, Socket};
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::{TlsConnector, TlsStream};

/// How to open TLS connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// `None` unless `tls.enable`.
    pub fn new(it: &Settings) -> Result<Option<ClientTls>, TlsError> {
        if !it.enable {
            return Ok(None);
        }
        let trust = Named { key: "tls.client.trustCertPath", path: &it.client_trust };
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match (trust.path, it.auth_server && !it.test_mode) {
            ("", true) => {
                let why = "`tls.client.authServer=true` needs the certificates that servers' ones must lead to";
                return Err(TlsError::Missing { key: trust.key, why });
            }
            ("", false) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider()))),
            _ => builder.with_root_certificates(trust.roots()?),
        };
        let certificate = Named { key: "tls.client.certPath", path: &it.client_cert };
        let private_key = Named { key: "tls.client.keyPath", path: &it.client_key };
        let password = Named { key: "tls.client.keyPassword", path: &it.client_key_password };
        let config = match identity(certificate, private_key, password)? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        Ok(Some(ClientTls { config: Arc::new(config) }))
    }

    /// The handshake; the certificate must name the host of `address`.
    pub async fn connect(&self, stream: TcpStream, address: &str) -> io::Result<Socket> {
        let host = address.rsplit_once(':').map_or(address, |it| it.0).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = Rewound { input: BytesMut::new(), stream };
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await?;
        Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
    }
}

/// Believes every certificate, as RocketMQ's client does unless `tls.client.authServer` is set. Signatures are checked
/// all the same: the peer has the key that goes with what it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
