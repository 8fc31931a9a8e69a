//! argv -> command -> exit code.

// They panic where the reader went away (`2>&1 | head`).
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::{
    alloc::{GlobalAlloc, Layout},
    io::{self, Write as _},
    process::ExitCode,
};

use libmimalloc_sys as mi;

/// Connection cores allocate and free small buffers all day, and glibc's arenas keep what they freed. Without huge pages
/// (feature `no_thp`).
#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

/// mimalloc. The `mimalloc` crate names the alignment in each call, which is its long way, even where every piece of
/// memory has it.
struct Mimalloc;

/// What all of mimalloc's memory is aligned to.
const WORD: usize = 8;

// SAFETY: mimalloc gives what malloc(3) promises, and where that is not enough it is asked for the alignment.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size will do.
        unsafe {
            match layout.align() <= WORD {
                true => mi::mi_malloc(layout.size()).cast(),
                false => mi::mi_malloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size will do.
        unsafe {
            match layout.align() <= WORD {
                true => mi::mi_zalloc(layout.size()).cast(),
                false => mi::mi_zalloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the caller has it from here.
        unsafe { mi::mi_free(memory.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has it from here.
        unsafe {
            match layout.align() <= WORD {
                true => mi::mi_realloc(memory.cast(), size).cast(),
                false => mi::mi_realloc_aligned(memory.cast(), size, layout.align()).cast(),
            }
        }
    }
}

fn main() -> ExitCode {
    // Nor where the kernel gives them unasked (`always` in /sys/kernel/mm/transparent_hugepage/enabled): a proxy that has
    // nothing to do needs 3 MiB, and had 17. Older kernels cannot be told; then it stays as it is.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match cli::main(std::env::args_os()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The whole chain, once, here.
            let _ = writeln!(io::stderr(), "{}", cli::message(&error));
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
