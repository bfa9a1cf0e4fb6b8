//! Calls to nameservers. A change goes to every one of them, since they do not know each other.

use super::{Admin, AdminError, Result};
use proto::Command;
use proto::alias::WITH_ALIASES;
use proto::body::{BrokerMemberGroup, ClusterInfo, GetBrokerMemberGroupResponseBody, TopicList, TopicRouteData};
use proto::code::{request, response};
use proto::header::{
    DeleteTopicInNamesrvRequest, GetBrokerMemberGroupRequest, GetRouteInfoRequest, GetTopicsByClusterRequest,
};

impl Admin {
    /// 106, without failover aliases: RocketMQ's nameservers know no difference.
    pub async fn cluster_info(&self) -> Result<ClusterInfo> {
        let mut info: ClusterInfo = self.namesrv_body(Command::request(request::GET_BROKER_CLUSTER_INFO)).await?;
        info.leave_out_aliases();
        Ok(info)
    }

    pub async fn cluster_info_with_aliases(&self) -> Result<ClusterInfo> {
        self.namesrv_body(Command::request(request::GET_BROKER_CLUSTER_INFO).with_ext(WITH_ALIASES, true)).await
    }

    /// 105, without failover aliases. A topic without a route is [`AdminError::Refused`] with code 17.
    pub async fn topic_route(&self, topic: &str) -> Result<TopicRouteData> {
        let mut route = self.topic_route_with_aliases(topic).await?;
        route.leave_out_aliases();
        Ok(route)
    }

    pub async fn topic_route_with_aliases(&self, topic: &str) -> Result<TopicRouteData> {
        let header = GetRouteInfoRequest {
            topic: Some(topic.to_owned()),
            accept_standard_json_only: Some(true),
            ..Default::default()
        };
        self.namesrv_body(Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header)).await
    }

    /// 206.
    pub async fn topic_list(&self) -> Result<TopicList> {
        self.namesrv_body(Command::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await
    }

    /// 224.
    pub async fn topics_by_cluster(&self, cluster: &str) -> Result<TopicList> {
        let header = GetTopicsByClusterRequest { cluster: cluster.to_owned() };
        self.namesrv_body(Command::request(request::GET_TOPICS_BY_CLUSTER).with_header(&header)).await
    }

    /// 901.
    pub async fn broker_members(&self, cluster: &str, broker_name: &str) -> Result<BrokerMemberGroup> {
        let header =
            GetBrokerMemberGroupRequest { cluster_name: Some(cluster.to_owned()), broker_name: broker_name.to_owned() };
        let request = Command::request(request::GET_BROKER_MEMBER_GROUP).with_header(&header);
        let body: GetBrokerMemberGroupResponseBody = self.namesrv_body(request).await?;
        Ok(body.broker_member_group.unwrap_or_default())
    }

    /// 216, at every nameserver; fails with the first that does.
    pub async fn delete_topic_in_namesrv(&self, topic: &str, cluster: Option<&str>) -> Result<()> {
        let header = DeleteTopicInNamesrvRequest { topic: topic.to_owned(), cluster_name: cluster.map(str::to_owned) };
        if self.namesrv().is_empty() {
            return Err(AdminError::NoNameserver);
        }
        for address in self.namesrv() {
            self.succeed(address, Command::request(request::DELETE_TOPIC_IN_NAMESRV).with_header(&header)).await?;
        }
        Ok(())
    }

    /// The master of a broker set, as the nameserver knows it.
    pub async fn master_address(&self, broker_name: &str) -> Result<Option<String>> {
        let info = self.cluster_info().await?;
        Ok(info.broker_addr_table.get(broker_name).and_then(|it| it.broker_addrs.get(&proto::MASTER_ID)).cloned())
    }

    /// Whether a call failed because the topic is unknown.
    pub fn is_no_topic(error: &AdminError) -> bool {
        error.code() == Some(response::TOPIC_NOT_EXIST)
    }
}
