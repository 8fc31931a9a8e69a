//! The command line: words in, one of the library's commands called, an exit code out. A command with more than a line
//! of its own has a file: its arguments, and how its answer is shown.

/// Shadows the standard one, so that no message to the operator can forget what [`worded`] adds; and a stderr that is
/// closed is no panic.
macro_rules! eprintln {
    ($($message:tt)*) => { $crate::cli::complain(&format!($($message)*)) };
}

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

use std::{borrow::Cow, ffi::OsString, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use clawgate::{
    admin::{self, Refused},
    app::StartError,
    command::Commands,
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
    /// Put configuration files into their canonical form; what they mean stays
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
            // Where nobody can be told, there is nobody to tell.
            let _ = error.print();
            return Ok(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    Commands::beside(&cli.config).are_here();
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

/// As our own commands are typed beside the configuration that was given.
fn commands() -> &'static Commands {
    Commands::here()
}

/// What an operator reads, with that configuration in the commands that it names.
fn worded(text: &str) -> Cow<'_, str> {
    commands().in_text(text)
}

/// To stderr, as a line.
fn complain(text: &str) {
    // Where nobody can be told, there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}", worded(text));
}

/// To stdout, for an operator.
fn print(text: &str) -> anyhow::Result<u8> {
    write(&worded(text))
}

/// To stdout as it is; a reader that went away (`| head`) is no failure.
fn write(text: &str) -> anyhow::Result<u8> {
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
    let message = worded(&message);
    // Findings begin with their own `error[...]`.
    if message.starts_with("error[") || message.starts_with("warning[") {
        message.into_owned()
    } else {
        format!("clawgate: {message}")
    }
}

/// The exit code that says what kind of failure `error` is.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    // Of a service that may not read its file nothing gets better by starting it again, so that stays CONFIG.
    if error.downcast_ref::<load::Refused>().is_some_and(|refused| refused.0.is_denied()) {
        return exit::NO_PERMISSION;
    }
    if is_config(error) {
        return exit::CONFIG;
    }
    if let Some(error) = error.downcast_ref::<admin::CallError>() {
        return match error {
            admin::CallError::Permission { .. } | admin::CallError::SocketUnknown { .. } => exit::NO_PERMISSION,
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
    use clawgate::{check::Topic, command::READS_CONFIG, listen::BindError};

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn it_is_known_which_commands_read_a_configuration() {
        let without = ["demo", "generate", "hash-password", "version"];
        let defined = Cli::command();
        let names: Vec<&str> = defined.get_subcommands().map(clap::Command::get_name).collect();
        for name in &names {
            assert_ne!(without.contains(name), READS_CONFIG.contains(name), "{name}");
        }
        for name in READS_CONFIG {
            assert!(names.contains(&name) || parsed(&format!("clawgate {name}")).is_ok(), "{name}");
        }
    }

    /// Those between backticks, and those that are all there is.
    fn commands_of(text: &str) -> Vec<String> {
        let quoted = text.split('`').skip(1).step_by(2);
        let alone = text.rsplit_once(": ").map_or(text, |(_, last)| last);
        let alone = Some(alone)
            .filter(|text| !text.contains('`') && !text.contains(". "))
            .map(|text| text.trim_end_matches('.'));
        let ours = |text: &&str| {
            let words = text.trim_start_matches("sudo ").strip_prefix("clawgate ");
            let next = words.and_then(|words| words.split(' ').next());
            next.is_some_and(|next| {
                next == "--config" || parsed(&format!("clawgate {next} --help")).is_err_and(|e| !e.use_stderr())
            })
        };
        quoted.chain(alone).filter(ours).map(|text| text.trim_start_matches("sudo ").to_owned()).collect()
    }

    #[test]
    fn every_command_of_a_page_can_be_typed_beside_any_configuration() {
        let commands = Commands::beside(Path::new("/x.toml"));
        let (mut typed, mut wrong) = (0, Vec::new());
        for page in clawgate::explain::code::all() {
            for text in [&page.why, &page.way_out] {
                for command in commands_of(&commands.in_text(text)) {
                    let line = command.replace("ADDRESS", "192.0.2.1").replace("ADDR", "192.0.2.1");
                    let line = line.replace("HOST", "a.test").replace("COMMAND", "status");
                    let cli = match parsed(&line) {
                        Ok(cli) => cli,
                        Err(error) if !error.use_stderr() => continue,
                        Err(_) => {
                            wrong.push(format!("{}: {command}", page.code));
                            continue;
                        }
                    };
                    let reads =
                        !matches!(cli.command, Some(Command::HashPassword | Command::Version | Command::Demo { .. }));
                    assert_eq!(cli.config == Path::new("/x.toml"), reads, "{}: {command}", page.code);
                    typed += 1;
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(typed > 60, "{typed}");
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
        let table: [(anyhow::Error, u8); 7] = [
            (denied_port.into(), exit::NO_PERMISSION),
            (taken_port().into(), exit::OS_ERROR),
            (DemoError::Run(taken_port()).into(), exit::OS_ERROR),
            (
                admin::CallError::Permission { path: path.clone(), group: None, source: denied() }.into(),
                exit::NO_PERMISSION,
            ),
            (admin::CallError::SocketUnknown { file: path.clone() }.into(), exit::NO_PERMISSION),
            (admin::CallError::NotRunning { path, source: taken() }.into(), exit::UNAVAILABLE),
            (RunError::Config(load::load(Path::new("/nowhere/config.toml")).unwrap_err()).into(), exit::CONFIG),
        ];
        for (error, code) in table {
            assert_eq!(exit_code(&error), code, "{error:#}");
        }
    }
}
