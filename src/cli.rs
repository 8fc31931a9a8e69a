//! The command line: words in, one of the library's commands called, an exit code out. A command with more than a line
//! of its own has a file: its arguments, and how its answer is shown.

mod allow;
mod ca;
mod certs;
mod check;
mod explain;
mod fmt;
mod generate;
mod hash_password;
mod import;
mod init;
mod pin;
mod reload;
mod status;
mod top;

use std::{ffi::OsString, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clawgate::{
    admin::{self, Refused},
    app::StartError,
    config::defaults::CONFIG,
    exit,
    process::{
        demo::{self, DemoError},
        load,
        logs::LogsError,
        run::{self, RunError},
    },
};

#[derive(Debug, Parser)]
#[command(
    name = "clawgate",
    version,
    about = "The edge proxy in front of an OpenClaw gateway",
    after_help = "Exit codes: 0 done, 1 warnings that were denied, 2 wrong usage, 69 nobody answers or a check failed, \
                  70 a bug, 71 the system refused (a port), 75 try later (a CA's limit), 77 not permitted, 78 the \
                  configuration is wrong."
)]
struct Cli {
    /// The configuration; conf.d/*.toml beside it is read too
    #[arg(long, global = true, value_name = "PATH", default_value = CONFIG)]
    config: PathBuf,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
enum Command {
    /// Serve until SIGTERM (the default)
    Run,
    /// Say everything that is wrong, in the configuration and around it (also --check and -t)
    #[command(long_flag = "check", short_flag = 't')]
    Check(check::Args),
    /// How everything stands, on one screen
    Status(status::Args),
    /// What happens right now, live (q ends it)
    Top,
    /// Print every number, for Prometheus
    Metrics,
    /// Make the running process take over a changed configuration
    Reload,
    /// Print the root certificate of the internal CA (PEM)
    Ca,
    /// How the certificates of all hosts stand
    Certs(certs::Args),
    /// Let an address ask for a while; alone: list who may
    Allow(allow::Args),
    /// List the device keys that connected lately, with the lines that pin them
    Pin,
    /// Take over Caddy's account, certificates and keys; without --apply only say how
    ImportCaddy(import::Caddy),
    /// Take over certbot's certificates and keys; without --apply only say how
    ImportCertbot(import::Certbot),
    /// Write a first configuration, and say what the gateway's own lacks
    Init(init::Args),
    /// Put configuration files into their canonical form
    Fmt(fmt::Args),
    /// What happens to a request, and what a code means
    Explain(explain::Args),
    /// Ask for a password, and print the line for basic_auth
    HashPassword,
    /// Try it without configuration: https://localhost:8443
    Demo {
        /// Port of https://localhost
        #[arg(long, value_name = "PORT", default_value_t = demo::HTTPS_PORT)]
        https_port: u16,
        /// Port of http://localhost, which redirects
        #[arg(long, value_name = "PORT", default_value_t = demo::HTTP_PORT)]
        http_port: u16,
    },
    /// What a package is made of beside the binary
    #[command(hide = true, subcommand)]
    Generate(generate::What),
    /// Print the version
    Version,
}

/// Runs what `args` say. The result is the exit code, or an error for [`exit_code`].
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> anyhow::Result<u8> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" that go to stdout and succeed.
            error.print()?;
            return Ok(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let done = |()| 0;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => Ok(run::run(&cli.config).map(done)?),
        Command::Check(args) => check::run(&cli.config, args),
        Command::Status(args) => status::run(&cli.config, args),
        Command::Top => top::run(&cli.config),
        Command::Metrics => status::metrics(&cli.config),
        Command::Reload => reload::run(&cli.config),
        Command::Ca => ca::run(&cli.config),
        Command::Certs(args) => certs::run(&cli.config, args),
        Command::Allow(args) => allow::run(&cli.config, args),
        Command::Pin => pin::run(&cli.config),
        Command::ImportCaddy(args) => import::from_caddy(&cli.config, &args),
        Command::ImportCertbot(args) => import::from_certbot(&cli.config, &args),
        Command::Init(args) => init::run(&cli.config, args),
        Command::Fmt(args) => fmt::run(&cli.config, &args),
        Command::Generate(what) => generate::run(Cli::command(), &what),
        Command::Explain(args) => explain::run(&cli.config, &args),
        Command::HashPassword => hash_password::run(),
        Command::Demo { https_port, http_port } => {
            Ok(demo::run(&demo::Options { https_port, http_port, state_dir: None }).map(done)?)
        }
        Command::Version => print(concat!("clawgate ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

/// To stdout; a reader that went away (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<u8> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(0),
    }
}

/// What kind of failure a refusal of the running process is.
fn code_of(refused: Refused) -> u8 {
    match refused {
        Refused::Config => exit::CONFIG,
        Refused::Forbidden => exit::NO_PERMISSION,
        Refused::BadRequest | Refused::Busy | Refused::Failed | Refused::Other => exit::UNAVAILABLE,
    }
}

/// The whole chain, for stderr.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let message = format!("{error:#}");
    // Findings begin with their own `error[...]`.
    if message.starts_with("error[") || message.starts_with("warning[") {
        message
    } else {
        format!("clawgate: {message}")
    }
}

/// The exit code that says what kind of failure `error` is.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if is_config(error) {
        return exit::CONFIG;
    }
    if let Some(error) = error.downcast_ref::<admin::CallError>() {
        return match error {
            admin::CallError::Permission { .. } => exit::NO_PERMISSION,
            _ => exit::UNAVAILABLE,
        };
    }
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::PermissionDenied) => exit::NO_PERMISSION,
        _ => exit::OS_ERROR,
    }
}

fn is_config(error: &anyhow::Error) -> bool {
    let run = match error.downcast_ref::<DemoError>() {
        Some(DemoError::Run(run)) => Some(run),
        _ => error.downcast_ref::<RunError>(),
    };
    let wrong = |run: &RunError| {
        matches!(
            run,
            RunError::Config(_)
                | RunError::Log(LogsError::Level { .. })
                // Files that the configuration names are part of it.
                | RunError::Start(StartError::Certificates(_))
        )
    };
    error.is::<load::Refused>() || run.is_some_and(wrong)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;
    use clawgate::{check::Topic, listen::BindError};

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_typed_and_what_it_means() {
        let renew = |name: &str| {
            let command = Some(certs::CertsCommand::Renew { name: name.to_owned() });
            Command::Certs(certs::Args { json: false, command })
        };
        let caddy = |directory: &str, apply| Command::ImportCaddy(import::Caddy { directory: directory.into(), apply });
        let check = |args| Some(Command::Check(args));
        let only = check::Args { json: true, only: vec![Topic::Dns, Topic::Gateway], ..check::Args::default() };
        let demo = |https_port, http_port| Some(Command::Demo { https_port, http_port });
        let table = [
            ("clawgate", None, CONFIG),
            ("clawgate run", Some(Command::Run), CONFIG),
            ("clawgate --config /c.toml", None, "/c.toml"),
            ("clawgate --config /c.toml run", Some(Command::Run), "/c.toml"),
            ("clawgate run --config /c.toml", Some(Command::Run), "/c.toml"),
            ("clawgate check", check(check::Args::default()), CONFIG),
            ("clawgate --check", check(check::Args::default()), CONFIG),
            ("clawgate -t --config /c.toml", check(check::Args::default()), "/c.toml"),
            ("clawgate --config /c.toml --check", check(check::Args::default()), "/c.toml"),
            ("clawgate --check --only dns,gateway --json --config /c.toml", check(only), "/c.toml"),
            ("clawgate --config /c.toml reload", Some(Command::Reload), "/c.toml"),
            ("clawgate status", Some(Command::Status(status::Args::default())), CONFIG),
            ("clawgate status --json", Some(Command::Status(status::Args { json: true, watch: false })), CONFIG),
            ("clawgate metrics", Some(Command::Metrics), CONFIG),
            ("clawgate top", Some(Command::Top), CONFIG),
            ("clawgate ca", Some(Command::Ca), CONFIG),
            ("clawgate certs --json", Some(Command::Certs(certs::Args { json: true, command: None })), CONFIG),
            ("clawgate certs renew a.test", Some(renew("a.test")), CONFIG),
            ("clawgate import-caddy", Some(caddy("/var/lib/caddy/.local/share/caddy", false)), CONFIG),
            ("clawgate import-caddy /c --apply", Some(caddy("/c", true)), CONFIG),
            ("clawgate demo", demo(8443, 8080), CONFIG),
            ("clawgate demo --https-port 1 --http-port 2", demo(1, 2), CONFIG),
            ("clawgate version", Some(Command::Version), CONFIG),
        ];
        for (line, command, config) in table {
            let cli = parsed(line).unwrap();
            assert_eq!((cli.command, cli.config.as_path()), (command, Path::new(config)), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "clawgate -t run",
            "clawgate --check reload",
            "clawgate check --only everything",
            "clawgate check --token-file /t",
            "clawgate fly",
            "clawgate demo --https-port 70000",
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.use_stderr(), "{line}");
            assert_eq!(error.exit_code(), i32::from(exit::USAGE));
        }
    }

    #[test]
    fn failures_have_codes_that_tell_them_apart() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let taken = || std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let address = "0.0.0.0:443".parse().unwrap();
        let denied_port = RunError::Start(BindError::Denied { address, source: denied() }.into());
        let taken_port = || RunError::Start(BindError::InUse { address, holder: None, source: taken() }.into());
        let path = PathBuf::from("/run/clawgate/admin.sock");
        let table: [(anyhow::Error, u8); 6] = [
            (denied_port.into(), exit::NO_PERMISSION),
            (taken_port().into(), exit::OS_ERROR),
            (DemoError::Run(taken_port()).into(), exit::OS_ERROR),
            (admin::CallError::Permission { path: path.clone(), source: denied() }.into(), exit::NO_PERMISSION),
            (admin::CallError::NotRunning { path, source: taken() }.into(), exit::UNAVAILABLE),
            (RunError::Config(load::load(Path::new("/nowhere/config.toml")).unwrap_err()).into(), exit::CONFIG),
        ];
        for (error, code) in table {
            assert_eq!(exit_code(&error), code, "{error:#}");
        }
    }
}
