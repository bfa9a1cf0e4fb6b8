//! `mqnamesrv`: the route registry. With `enableControllerInNamesrv=true` it also runs a controller, configured in the same file.

use baton::{ServerArgs, load, parse, print_config, say, serve, warn_unknown};
use node::properties::UnknownKey;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: ServerArgs = parse("mqnamesrv", "Tells clients which broker has which topic.");
    node::telemetry::init();
    serve("mqnamesrv", 2, async |stop| {
        let path = args.config_file.as_deref();
        let namesrv = load::<namesrv::Config>(path)?;
        let embedded = match namesrv.config.enable_controller_in_namesrv {
            true => Some(load::<controller::Config>(path)?),
            false => None,
        };
        if args.print_config {
            print_config(&namesrv.config)?;
            return embedded.iter().try_for_each(|it| print_config(&it.config));
        }
        let nobodys = |key: &&UnknownKey| {
            embedded.as_ref().is_none_or(|it| it.unknown.iter().any(|other| other.line == key.line))
        };
        warn_unknown(path, &namesrv.unknown.iter().filter(nobodys).cloned().collect::<Vec<_>>());

        let running = namesrv::start(namesrv.config, stop.clone()).await?;
        let controller = match embedded {
            Some(embedded) => Some(controller::start(embedded.config, stop.clone()).await?),
            None => None,
        };
        say(&format!("The Name Server boot success. serializeType=JSON, address {}", running.address))?;
        let namesrv = async {
            let ended = running.finished().await;
            stop.cancel(); // neither runs without the other
            ended
        };
        let controller = async {
            let Some(controller) = controller else { return Ok(()) };
            let ended = controller.finished().await;
            stop.cancel();
            ended
        };
        let (namesrv, controller) = tokio::join!(namesrv, controller);
        namesrv.and(controller)
    })
}
