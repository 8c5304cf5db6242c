//! The rmail program.

fn main() -> std::process::ExitCode {
    rmail_runtime::cli::run()
}
