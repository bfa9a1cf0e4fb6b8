//! `mqcontroller`: one of the processes that decide who is master of each broker set.

use baton::{Program, ServerArgs, finish, load, offline, parse, print_config, serve, serving, warn_unknown};
use std::process::ExitCode;

/// A controller makes millions of small values, and drops on one thread what another has made: the system's allocator
/// costs a fifth more processor time. Without huge pages, which would take 10 MiB of an idle one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if offline::is_offline() {
        let what = parse("mqcontroller", "Decides who is master of each broker set. Run 3 or 5 of them.");
        return finish("mqcontroller", offline::run(what));
    }
    let args: ServerArgs = parse("mqcontroller", "Decides who is master of each broker set. Run 3 or 5 of them.");
    node::telemetry::init();
    serve("mqcontroller", 2, async |stop| {
        let path = args.config_file.as_deref();
        let loaded = load::<controller::Config>(path)?;
        warn_unknown(&[Program::Controller], path, &loaded.unknown);
        if args.print_config {
            return print_config(&loaded.config);
        }
        let running = controller::start(loaded.config, stop).await?;
        serving("The Controller Server boot success. serializeType=JSON")?;
        running.finished().await
    })
}
