//! Where to send a topic's messages and where to read them (105).

use super::{Nameserver, Result, success};
use crate::kv::ORDER_TOPIC_CONFIG;
use crate::route::Zone;
use crate::route_json::{self, Form};
use proto::code::response;
use proto::header::GetRouteInfoRequest;
use proto::{Command, Millis};

/// First version that reads strict JSON here (V4_9_4).
const STANDARD_JSON: i32 = 401;

impl Nameserver {
    pub(super) fn route_info(&self, now: Millis, request: &Command) -> Result {
        let header: GetRouteInfoRequest = request.header()?;
        if self.config.need_wait_for_service
            && now.saturating_sub(self.started) < self.config.wait_seconds_for_service * 1000
        {
            return Ok(Command::error(response::SYSTEM_ERROR, "name server not ready"));
        }
        // A missing topic is looked up, and printed, as Java prints a missing value.
        let topic = header.topic.as_deref().unwrap_or("null");
        let Some(mut route) = self.table.route(topic, self.rules()) else {
            let remark = format!(
                "No topic route info in name server for the topic: {topic}\n\
                 See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
            );
            return Ok(Command::error(response::TOPIC_NOT_EXIST, remark));
        };
        if self.config.order_message_enable {
            route.order_topic_conf = self.kv.get(ORDER_TOPIC_CONFIG, topic).map(str::to_owned);
        }
        let standard = request.version >= STANDARD_JSON || header.accept_standard_json_only == Some(true);
        let mut form = if standard { Form::Standard } else { Form::Legacy };
        if let (Some(true), Some(zone)) = (header.zone_mode, header.zone_name) {
            Zone(zone).filter(&mut route);
            form = Form::Legacy; // as Java, which encodes a second time after the filter
        }
        Ok(success().with_body(route_json::encode(&route, form)))
    }
}
