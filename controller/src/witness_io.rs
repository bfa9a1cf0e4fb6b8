//! Asks the other controllers when they last heard a broker (Baton's 31012).

use node::remoting::Client;
use proto::code::{request, response};
use proto::header::{BatonWitnessRequest, BatonWitnessResponse};
use proto::{BrokerId, Command, Millis};
use std::time::Duration;
use tokio::task::JoinSet;

/// A controller that does not answer within this is no witness: an election waits for it.
const PATIENCE: Duration = Duration::from_millis(150);

/// The most recent sign of life that any of them had: how long ago, and whose word it is.
pub(crate) async fn ask(
    client: &Client,
    controllers: impl Iterator<Item = String>,
    broker_set: &str,
    id: BrokerId,
) -> Option<(Millis, String)> {
    let question = Command::request(request::BATON_WITNESS)
        .with_header(&BatonWitnessRequest { broker_name: broker_set.to_owned(), broker_id: id });
    let mut asking = JoinSet::new();
    for address in controllers {
        let (client, question) = (client.clone(), question.clone());
        asking.spawn(async move {
            let answer = client.call(&address, question, PATIENCE).await.ok()?;
            // A controller of another make answers that it does not know the request.
            let it: BatonWitnessResponse = answer.header().ok().filter(|_| answer.code == response::SUCCESS)?;
            Some((u64::try_from(it.heard_mills_ago?).ok()?, address))
        });
    }
    // A panic in one of them has been reported; it is no witness.
    asking.join_all().await.into_iter().flatten().min()
}
