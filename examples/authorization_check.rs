//! Asks a running attache whether a caller may do something: `authorization_check ADDRESS CALLER RESOURCE ACTION
//! [CONTEXT]`, with the address as `unix:/run/attache/ext_authz.sock` and the context as a JSON object.
//!
//! Exit code 0: allowed; 3: denied, for whatever reason; 2: wrong use.
#![expect(clippy::print_stdout, reason = "the answer of the command")]

use std::process::ExitCode;

use attache::authority::AuthorizationProvider as _;
use attache::grpc::AuthorizationClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (question, context) = match arguments.as_slice() {
        [question @ .., context] if question.len() == 4 => (question, context.as_str()),
        question => (question, "{}"),
    };
    let ([address, caller, resource, action], Ok(context)) =
        (question, serde_json::from_str(context))
    else {
        println!("usage: authorization_check ADDRESS CALLER RESOURCE ACTION [CONTEXT]");
        return ExitCode::from(2);
    };
    let provider = match AuthorizationClient::new(address) {
        Ok(provider) => provider,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let decision = provider.check(caller, resource, action, &context).await;
    match decision.reason_code() {
        None => println!("allowed: {}", decision.reason()),
        Some(code) => println!("denied ({code}): {}", decision.reason()),
    }
    println!("audit id {}", decision.audit_id());
    if decision.allowed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    }
}
