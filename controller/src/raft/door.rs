//! How controllers reach each other, and how one knows the other: TLS, and the shared secret of the group.
//!
//! The signature proves who opens a stream. It can be repeated by whoever overhears it, which only TLS prevents.

use node::tls::ClientTls;
use proto::Command;
use proto::acl::{ACCESS_KEY, SIGNATURE};
use proto::raft_transport::raft_transport_client::RaftTransportClient;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// gRPC's names for what remoting carries in `AccessKey` and `Signature`.
const KEY_FIELD: &str = "baton-access-key";
const SIGNATURE_FIELD: &str = "baton-signature";

pub(super) type Client = RaftTransportClient<InterceptedService<Channel, Signing>>;

/// Of one controller, towards all others.
#[derive(Clone, Default)]
pub struct Door {
    /// What is signed.
    pub group: String,
    /// `None`: whoever names the group is believed.
    pub credentials: Option<(String, String)>,
    pub tls: Option<ClientTls>,
}

impl Door {
    pub(super) async fn open(&self, address: &str) -> Result<Client, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true);
        let channel = match &self.tls {
            None => endpoint.connect().await?,
            Some(tls) => {
                let (tls, address) = (tls.clone(), address.to_owned());
                let connector = tower::service_fn(move |_| connect(tls.clone(), address.clone()));
                endpoint.connect_with_connector(connector).await?
            }
        };
        Ok(RaftTransportClient::with_interceptor(channel, Signing(self.clone())))
    }

    fn request(&self) -> Command {
        Command::request(0).with_ext("controllerGroup", &self.group)
    }

    pub(super) fn check(&self, request: &Request<()>) -> Result<(), Status> {
        let Some((key, secret)) = &self.credentials else { return Ok(()) };
        let field = |name| request.metadata().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let given = self.request().with_ext(ACCESS_KEY, field(KEY_FIELD)).with_ext(SIGNATURE, field(SIGNATURE_FIELD));
        if given.ext[ACCESS_KEY] == *key && proto::acl::verify(&given, secret) {
            return Ok(());
        }
        let why = "not signed with this group's secret: controllerAclEnable, controllerAccessKey and \
                   controllerSecretKey must be the same on all controllers";
        Err(Status::permission_denied(why))
    }
}

async fn connect(tls: ClientTls, address: String) -> std::io::Result<hyper_util::rt::TokioIo<node::socket::Socket>> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    Ok(hyper_util::rt::TokioIo::new(tls.connect(stream, &address).await?))
}

/// Adds the signature to what is sent.
#[derive(Clone)]
pub(super) struct Signing(Door);

impl Interceptor for Signing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Some((key, secret)) = &self.0.credentials else { return Ok(request) };
        let mut signed = self.0.request();
        proto::acl::sign(&mut signed, key, secret);
        for (name, value) in [(KEY_FIELD, &signed.ext[ACCESS_KEY]), (SIGNATURE_FIELD, &signed.ext[SIGNATURE])] {
            let value = MetadataValue::try_from(value).map_err(|e| Status::internal(e.to_string()))?;
            request.metadata_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// Refuses what is received without it.
#[derive(Clone)]
pub(crate) struct Checking(pub(super) Door);

impl Interceptor for Checking {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.0.check(&request).inspect_err(|it| tracing::debug!("refused a controller: {}", it.message()))?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(secret: &str) -> Door {
        let credentials = Some(("controllers".to_owned(), secret.to_owned()));
        Door { group: "group1".to_owned(), credentials, tls: None }
    }

    #[test]
    fn a_controller_without_the_secret_is_refused() {
        let from = |door: Door| Signing(door).call(Request::new(())).unwrap();
        assert!(door("12345678").check(&from(door("12345678"))).is_ok());
        assert!(door("12345678").check(&from(door("12345679"))).is_err());
        assert!(door("12345678").check(&from(Door { credentials: None, ..door("") })).is_err());
        assert!(Door { credentials: None, ..door("") }.check(&from(door("12345678"))).is_ok());
        let elsewhere = Door { group: "group2".to_owned(), ..door("12345678") };
        assert!(door("12345678").check(&from(elsewhere)).is_err());
    }
}
