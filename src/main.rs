//! argv -> command -> exit code.

mod cli;

use std::process::ExitCode;

/// Connection cores allocate and free small buffers all day, and glibc's arenas keep what they freed. Without huge pages
/// (feature `no_thp`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Nor where the kernel gives them unasked (`always` in /sys/kernel/mm/transparent_hugepage/enabled): a proxy that has
    // nothing to do needs 3 MiB, and had 17. Older kernels cannot be told; then it stays as it is.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match cli::main(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The whole chain, once, here.
            eprintln!("{}", cli::message(&error));
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
