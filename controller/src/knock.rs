//! Asks a host's kernel whether anybody listens at an address, by connecting and hanging up at once (S6).

use crate::liveness::Probed;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::TcpStream;

/// An address that has not answered after this long proves nothing.
const PATIENCE: Duration = Duration::from_millis(300);

pub(crate) async fn on(address: &str) -> Probed {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Probed::Alive,
        Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => Probed::Refused,
        Ok(Err(_)) | Err(_) => Probed::Unknown,
    }
}

/// One process's addresses at once: one that refuses is enough, and nobody waits for the others then.
pub(crate) async fn on_all(addresses: &[String]) -> Probed {
    let mut answers: FuturesUnordered<_> = addresses.iter().map(|it| on(it)).collect();
    let mut all = Probed::Alive;
    while let Some(answer) = answers.next().await {
        match answer {
            Probed::Refused => return Probed::Refused,
            Probed::Unknown => all = Probed::Unknown,
            Probed::Alive => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn listening() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    #[tokio::test]
    async fn one_of_a_process_s_addresses_that_refuses_is_enough() {
        let ((_held, held), (other, gone)) = (listening(), listening());
        drop(other);
        assert_eq!(on(&held).await, Probed::Alive);
        assert_eq!(on(&gone).await, Probed::Refused);
        assert_eq!(on("no such address").await, Probed::Unknown);
        let all = |it: &[&String]| it.iter().map(|it| it.to_string()).collect::<Vec<_>>();
        assert_eq!(on_all(&all(&[&held, &gone])).await, Probed::Refused);
        assert_eq!(on_all(&all(&[&held])).await, Probed::Alive);
        assert_eq!(on_all(&all(&[&held, &"no such address".to_owned()])).await, Probed::Unknown);
    }
}
