//! argv -> command -> exit code.

mod cli;

use std::process::ExitCode;

/// Connection cores allocate and free small buffers all day, and glibc's arenas keep what they freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::main(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The whole chain, once, here.
            eprintln!("{}", cli::message(&error));
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
