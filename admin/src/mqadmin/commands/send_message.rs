//! `sendMessage`: sends one message and shows where it went.

/// Header and one row; `status` in RocketMQ's spelling.
pub fn table(broker_set: &str, queue_id: &str, status: &str, message_id: &str) -> String {
    let line =
        |set: &str, queue: &str, status: &str, id: &str| format!("{set:<32}  {queue:<4}  {status:<20}    {id}\n");
    line("#Broker Name", "#QID", "#Send Result", "#MsgId") + &line(broker_set, queue_id, status, message_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_table_is_rocketmqs() {
        expect![[r"
            #Broker Name                      #QID  #Send Result            #MsgId
            broker-a                          3     SEND_OK                 7F00000100002A9F000000000012D687
        "]]
        .assert_eq(&table("broker-a", "3", "SEND_OK", "7F00000100002A9F000000000012D687"));
    }
}
