//! `attache serve`: answers proxies until told to stop.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::lifecycle::Shutdown;
use crate::telemetry;

use super::{ConfigSource, complain};

/// Answer proxies until told to stop
#[derive(Debug, Args)]
#[command(after_help = "\
Name a file with --config, or try attache out with --dev. SIGTERM and SIGINT finish what is under way and \
stop; a second one stops at once.

Exit code: 0 stopped in order, 1 the host refuses a socket or a file, or the process failed, \
2 wrong use or configuration.")]
pub(super) struct Serve {
    #[command(flatten)]
    source: ConfigSource,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let config = match self.source.read_or_complain() {
            Ok(config) => config,
            Err(code) => return code,
        };
        config.fixed.telemetry.start_logging();
        let code = self.serve(config);
        telemetry::finish();
        code
    }

    fn serve(self, config: Config) -> ExitCode {
        // Decisions have their own threads; this one keeps probes, reloads and signals.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("attache")
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                complain(&error);
                return ExitCode::FAILURE;
            }
        };
        runtime.block_on(async {
            // Before anything is opened: a stop during the start is a stop in order.
            let shutdown = Shutdown::default();
            if let Err(error) = stop_on_signals(shutdown.clone()) {
                complain(&error);
                return ExitCode::FAILURE;
            }
            let app = match App::build(config, self.source.config, Arc::new(SystemClock)).await {
                Ok(app) => app,
                Err(error) => {
                    complain(&error);
                    return ExitCode::from(error.exit_code());
                }
            };
            match app.run(shutdown).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&error);
                    ExitCode::FAILURE
                }
            }
        })
    }
}

/// The first SIGTERM or SIGINT asks to finish, the second to give up.
fn stop_on_signals(shutdown: Shutdown) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for step in [Shutdown::drain, Shutdown::abort] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            step(&shutdown);
        }
    });
    Ok(())
}
