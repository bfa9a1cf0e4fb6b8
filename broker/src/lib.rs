//! (to be written) Contract with bin/, which parses arguments and loads the configuration:
//! `Config` (serde, camelCase, RocketMQ's keys), `start(Config, CancellationToken) -> anyhow::Result<Running>`.
