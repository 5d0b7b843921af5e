//! The thin binary: arguments, logging, exit codes. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dr_exporter::cli::main()
}
