//! The same program with faults that can be asked for, for the crash tests. Never released.

fn main() -> std::process::ExitCode {
    setkeeper::main()
}
