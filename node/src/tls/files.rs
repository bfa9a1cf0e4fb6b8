//! PEM files: certificates, keys, and when they last changed.

use super::TlsError;
use std::time::SystemTime;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A key of the configuration and the file it names.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) key: &'static str,
    pub(super) path: &'a str,
}

impl Named<'_> {
    fn failed(self, why: impl std::fmt::Display) -> TlsError {
        TlsError::File { key: self.key, path: self.path.to_owned(), why: why.to_string() }
    }

    pub(super) fn certificates(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read = CertificateDer::pem_file_iter(self.path).map_err(|e| self.failed(e))?;
        let all = read.collect::<Result<Vec<_>, _>>().map_err(|e| self.failed(e))?;
        if all.is_empty() { Err(self.failed("holds no PEM certificate")) } else { Ok(all) }
    }

    fn private_key(self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_file(self.path).map_err(|e| {
            self.failed(format!(
                "{e}; want an unencrypted PEM key (`openssl pkcs8 -in KEY -out PLAIN` removes a password)"
            ))
        })
    }

    pub(super) fn roots(self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|e| self.failed(e))?;
        }
        Ok(roots)
    }

    /// `None` when it cannot be seen, which is a change as well.
    pub(super) fn changed_at(self) -> Option<SystemTime> {
        std::fs::metadata(self.path).and_then(|it| it.modified()).ok()
    }
}

/// Chain and key; `None` when neither is configured.
pub(super) fn identity(cert: Named<'_>, key: Named<'_>, password: Named<'_>) -> Result<Option<Identity>, TlsError> {
    if !password.path.is_empty() {
        let why = format!(
            "`{}`: encrypted keys are not read: decrypt it (`openssl pkcs8 -in KEY -out PLAIN`), protect it by its \
             file mode, and remove this key",
            password.key
        );
        return Err(TlsError::Refused(why));
    }
    match (cert.path, key.path) {
        ("", "") => Ok(None),
        ("", _) => Err(TlsError::Missing { key: cert.key, why: "a key is configured without its certificate" }),
        (_, "") => Err(TlsError::Missing { key: key.key, why: "a certificate is configured without its key" }),
        _ => Ok(Some((cert.certificates()?, key.private_key()?))),
    }
}
