//! `mqnamesrv`: the route registry. With `enableControllerInNamesrv=true` it also runs a controller, configured in the
//! same file.

use baton::{Program, ServerArgs, load, parse, print_config, serve, serving, warn_unknown};
use node::properties::{Loaded, UnknownKey};
use std::path::Path;
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
        let nobodys = nobodys(path, namesrv.unknown, embedded.as_ref());
        warn_unknown(&[Program::Namesrv, Program::Controller][..1 + embedded.iter().len()], path, &nobodys);
        if args.print_config {
            print_config(&namesrv.config)?;
            return embedded.iter().try_for_each(|it| print_config(&it.config));
        }
        let running = namesrv::start(namesrv.config, stop.clone()).await?;
        let controller = match embedded {
            Some(embedded) => Some(controller::start(embedded.config, stop.clone()).await?),
            None => None,
        };
        serving(&format!("The Name Server boot success. serializeType=JSON, address {}", running.address))?;
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

/// Keys that neither the nameserver nor the controller in it knows. Without a controller its keys are no mistake of
/// spelling, but they do nothing: that is said once.
fn nobodys(
    path: Option<&Path>,
    unknown: Vec<UnknownKey>,
    embedded: Option<&Loaded<controller::Config>>,
) -> Vec<UnknownKey> {
    let theirs = match embedded {
        Some(embedded) => embedded.unknown.clone(),
        // What is wrong with a value that nobody uses is nobody's trouble.
        None => load::<controller::Config>(path).map_or_else(|_| unknown.clone(), |it| it.unknown),
    };
    let (nobodys, controllers) =
        unknown.into_iter().partition::<Vec<_>, _>(|key| theirs.iter().any(|it| it.line == key.line));
    if let (None, Some(UnknownKey { line, key, .. })) = (embedded, controllers.first()) {
        let path = path.map(|it| it.display().to_string()).unwrap_or_default();
        tracing::warn!(
            "{path}:{line}: `{key}` and a controller's other keys have no effect here: set \
             enableControllerInNamesrv=true"
        );
    }
    nobodys
}
