//! Compiles the wire formats under `proto/` with protox, so that nobody needs a `protoc`.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    envoy()?;
    attache()
}

/// What Envoy says and understands.
fn envoy() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "envoy/service/auth/v3/external_auth.proto",
        "google/rpc/error_details.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Bodies and raw headers stay slices of the received buffer.
        .bytes(".")
        // Read once in order, never searched: cheaper to fill than a hash map.
        .btree_map(".envoy.service.auth.v3.AttributeContext.HttpRequest.headers")
        .build_client(false)
        .build_transport(false)
        // The one answer type that can't be built without a decision.
        .extern_path(
            ".envoy.service.auth.v3.CheckResponse",
            "crate::grpc::answer::Answer",
        )
        .compile_fds(descriptors)?;
    Ok(())
}

/// Our own services, with clients.
fn attache() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "attache/v1/audit.proto",
        "attache/v1/authorization.proto",
        "attache/v1/delegation.proto",
        "attache/v1/session.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?);
    std::fs::write(out.join("attache.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        // They hold secrets, and show themselves by hand.
        .skip_debug([
            "attache.v1.DevPassword",
            "attache.v1.CreateSessionResponse",
            "attache.v1.DelegateRequest",
            "attache.v1.IssuedToken",
            "attache.v1.CheckPermissionRequest",
            "attache.v1.ListEffectivePermissionsRequest",
            "attache.v1.VerifyTokenRequest",
            "attache.v1.IntrospectTokenRequest",
            "attache.v1.RevokeTokenRequest",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
