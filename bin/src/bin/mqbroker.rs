//! `mqbroker`: one replica of a broker set.

use baton::{BrokerArgs, Program, finish, load, parse, print_config, serve, serving, supervise, warn_unknown};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: BrokerArgs = parse("mqbroker", "Stores messages and serves them; one replica of a broker set.");
    node::telemetry::init();
    if args.supervised && !args.server.print_config {
        return supervised(&args);
    }
    let workers = std::thread::available_parallelism().map_or(2, |it| it.get().max(2));
    serve("mqbroker", workers, async |stop| {
        let path = args.server.config_file.as_deref();
        let mut loaded = load::<broker::Config>(path)?;
        let config = &mut loaded.config;
        let environment = || std::env::var("NAMESRV_ADDR").ok().filter(|it| !it.is_empty());
        config.namesrv_addr = args.namesrv.clone().or(config.namesrv_addr.take()).or_else(environment);
        warn_unknown(&[Program::Broker], path, &loaded.unknown);
        if args.server.print_config {
            return print_config(&loaded.config);
        }
        let (name, namesrv) = (loaded.config.broker_name.clone(), loaded.config.namesrv_addr.clone());
        let running = broker::start(loaded.config, stop).await?;
        let namesrv = namesrv.map(|it| format!(" and name server is {it}")).unwrap_or_default();
        serving(&format!("The broker[{name}, {}] boot success. serializeType=JSON{namesrv}", running.address))?;
        running.finished().await
    })
}

/// The child reads the file again: it says what there is to say about it.
fn supervised(args: &BrokerArgs) -> ExitCode {
    let path = args.server.config_file.as_deref();
    let run = || supervise::run(&load::<broker::Config>(path)?.config);
    run().unwrap_or_else(|error| finish("mqbroker", Err(error)))
}
