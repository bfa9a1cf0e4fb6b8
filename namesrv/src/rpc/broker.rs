//! What brokers say: they are here, they still are, they leave (103, 104, 904, 322, 901, 217).

use super::{Nameserver, Result, success};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::route::{ConnectionId, Member, Registered, Registration};
use proto::body::{DataVersion, GetBrokerMemberGroupResponseBody, KvTable, TopicRouteData};
use proto::code::response;
use proto::header::{
    BrokerHeartbeatRequest, GetBrokerMemberGroupRequest, QueryDataVersionRequest, QueryDataVersionResponse,
    RegisterBrokerResponse, RegisterTopicRequest, UnregisterBrokerRequest,
};
use proto::{Command, Millis};
use tracing::{info, warn};

impl Nameserver {
    pub(super) fn register_broker(&mut self, now: Millis, from: ConnectionId, request: &Command) -> Command {
        let registration = match Registration::decode(request, from) {
            Ok(it) => it,
            Err(e) => return Command::error(response::SYSTEM_ERROR, e.to_string()),
        };
        let Member { broker_set, address, .. } = registration.member.clone();
        let (id, version) = (registration.broker_id, registration.version.state_version);
        match self.table.register(now, registration, self.rules()) {
            Registered::Accepted { master } => {
                tracing::debug!(broker_set, address, id, state_version = version, "broker registered");
                let (master_addr, ha_server_addr) = master.map(|it| (it.address, it.ha_address)).unzip();
                let answer = success().with_header(&RegisterBrokerResponse { ha_server_addr, master_addr });
                match self.order_topics() {
                    Some(body) => answer.with_body(body),
                    None => answer,
                }
            }
            Registered::Fenced { holder } => {
                warn!(
                    broker_set,
                    address,
                    id,
                    state_version = version,
                    holder,
                    "registration of an older master ignored"
                );
                success()
            }
            Registered::Incomplete => Command::error(response::SYSTEM_ERROR, "register broker failed"),
        }
    }

    pub(super) fn unregister_broker(&mut self, request: &Command) -> Result {
        let header: UnregisterBrokerRequest = request.header()?;
        let member =
            Member { cluster: header.cluster_name, address: header.broker_addr, broker_set: header.broker_name };
        self.table.unregister(&member);
        info!(broker_set = member.broker_set, address = member.address, "broker unregistered");
        Ok(success())
    }

    pub(super) fn broker_heartbeat(&mut self, now: Millis, request: &Command) -> Result {
        let header: BrokerHeartbeatRequest = request.header()?;
        self.table.heartbeat(now, &header.cluster_name, &header.broker_addr);
        Ok(success())
    }

    pub(super) fn query_data_version(&mut self, now: Millis, request: &Command) -> Result {
        let header: QueryDataVersionRequest = request.header()?;
        let theirs: DataVersion = proto::json::from_slice(&request.body).unwrap_or_default();
        let stored = self.table.data_version(now, &header.cluster_name, &header.broker_addr);
        let changed = stored.as_ref() != Some(&theirs);
        let answer = success().with_header(&QueryDataVersionResponse { changed });
        Ok(match stored {
            Some(version) => answer.with_body(proto::json::to_vec(&version)),
            None => answer,
        })
    }

    pub(super) fn broker_member_group(&self, request: &Command) -> Result {
        let header: GetBrokerMemberGroupRequest = request.header()?;
        let group = self.table.members(&header.cluster_name.unwrap_or_default(), &header.broker_name);
        let body = proto::json::to_vec(&GetBrokerMemberGroupResponseBody { broker_member_group: Some(group) });
        // Java forgets to clear the remark of a fresh answer here.
        Ok(Command::error(response::SUCCESS, "not set any response code").with_body(body))
    }

    pub(super) fn register_topic(&mut self, request: &Command) -> Result {
        let header: RegisterTopicRequest = request.header()?;
        if let Ok(route) = proto::json::from_slice::<TopicRouteData>(&request.body) {
            self.table.register_topic(&header.topic, route.queue_datas);
        }
        Ok(success())
    }

    fn order_topics(&self) -> Option<Vec<u8>> {
        let table =
            self.kv.namespace(ORDER_TOPIC_CONFIG).filter(|_| self.config.return_order_topic_config_to_broker)?;
        let table = table.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        Some(proto::json::to_vec(&KvTable { table }))
    }
}
