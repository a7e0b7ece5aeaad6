//! The `meterhouse` program: everything it does lives in the library, one module per subcommand.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    jobs::cli::main()
}
