//! setkeeper: see `setkeeper --help`.

fn main() -> std::process::ExitCode {
    setkeeper::main()
}
