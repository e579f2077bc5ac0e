//! The program `roomcast`: command line in, exit code out.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use clap::Parser;
use roomcast::{
    StartError,
    cli::{Ask, Cli, GlobalArgs, SignArgs},
    config::{Config, commented_defaults},
    data::DataFolder,
    import,
    ticket::{self, TicketError},
};
use signaling::Code;
use tracing_subscriber::EnvFilter;

/// The configuration or the command line is wrong. clap uses the same.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Ask::Config) = cli.command {
        print!("{}", commented_defaults());
        return ExitCode::SUCCESS;
    }
    if let Some(Ask::Import { file }) = &cli.command {
        return import(file);
    }
    let config = match cli.global.load() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("roomcast: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let result = match cli.command {
        Some(Ask::Sign(args)) => sign(&config, &args),
        _ => serve(config, &cli.global),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("roomcast: {text}");
            ExitCode::FAILURE
        }
    }
}

fn import(file: &Path) -> ExitCode {
    let text = fs::read_to_string(file).map_err(|error| error.to_string());
    match text.and_then(|text| import::import(&text).map_err(|error| error.to_string())) {
        Ok(toml) => {
            print!("{toml}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("roomcast: {}: {why}", file.display());
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn sign(config: &Config, args: &SignArgs) -> Result<(), String> {
    let data = || DataFolder::open(config.data_folder()).and_then(|data| data.demo_keys());
    let demo = config.demo.enabled.then(data).transpose().map_err(|error| error.to_string())?;
    let mut apps = config.signaling(demo.as_ref()).map_err(|error| error.to_string())?.apps;
    let asked_for = args.app.filter(|id| apps.iter().all(|app| app.sdk_app_id != *id));
    if let Some(id) = asked_for {
        apps.extend(signaling::store::app_added_by_request(config.data_folder(), id).map_err(
            |error| match error.code() {
                Code::StoreInUse => TicketError::AskTheServer(id).to_string(),
                _ => error.to_string(),
            },
        )?);
    }
    let ticket = ticket::sign(&apps, args, &config.demo.room).map_err(|error| error.to_string())?;
    let json = serde_json::to_string_pretty(&ticket).map_err(|error| error.to_string())?;
    println!("{json}");
    Ok(())
}

fn serve(config: Config, arguments: &GlobalArgs) -> Result<(), String> {
    start_log(&config, arguments.log.as_deref())?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let result =
        runtime.block_on(roomcast::run(config, || arguments.load())).map_err(|error: StartError| error.to_string());
    // A task that hangs must not keep the process: everything worth waiting for has been waited for.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// Logs go to stderr: stdout is for the text that people asked for. `--log`, else RUST_LOG, else `server.log`.
fn start_log(config: &Config, log: Option<&str>) -> Result<(), String> {
    let variable = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let wanted = log.or(variable.as_deref()).unwrap_or(&config.server.log);
    let filter = EnvFilter::try_new(wanted).map_err(|error| format!("log filter `{wanted}`: {error}"))?;
    roomcast::log::start(filter, config.console.log_lines.get() as usize);
    Ok(())
}
