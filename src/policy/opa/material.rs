//! What stands in files of the OPA engine: the bearer token and the authorities. Neither is ever shown.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::config::Opa;
use crate::policy::LoadError;

/// The content of the files.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Material {
    token: Option<Vec<u8>>,
    authorities: Option<Vec<u8>>,
}

impl std::fmt::Debug for Material {
    /// Never shows the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Material")
    }
}

impl Material {
    /// Reads the files that `opa` names; relative paths start from `base`. Blocks.
    pub(super) fn read(opa: &Opa, base: &Path) -> Result<Self, LoadError> {
        let read = |file: &Option<_>| file.as_deref().map(|file| content(base, file)).transpose();
        Ok(Self {
            token: read(&opa.token_file)?,
            authorities: read(&opa.ca_file)?,
        })
    }

    /// The value of the `authorization` header.
    pub(super) fn bearer(&self, opa: &Opa) -> Result<Option<HeaderValue>, LoadError> {
        let (Some(token), Some(file)) = (&self.token, &opa.token_file) else {
            return Ok(None);
        };
        let token = token.trim_ascii();
        let plain = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
        let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
        match value {
            Ok(mut value) if plain => {
                value.set_sensitive(true);
                Ok(Some(value))
            }
            _ => Err(LoadError::Listing {
                name: file.display().to_string(),
                fault: "holds no bearer token: one word of visible ASCII characters",
            }),
        }
    }

    /// How the server of an `https` endpoint is judged: by these authorities and no others. Without a file none is believed.
    pub(super) fn tls(&self, opa: &Opa) -> Result<Arc<rustls::ClientConfig>, LoadError> {
        let roots = self.roots(opa)?;
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|_unsupported| LoadError::Listing {
                    name: opa.endpoint.to_string(),
                    fault: "can't be used with this build's TLS",
                })?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Arc::new(config))
    }

    fn roots(&self, opa: &Opa) -> Result<RootCertStore, LoadError> {
        let (Some(pem), Some(file)) = (&self.authorities, &opa.ca_file) else {
            return Ok(RootCertStore::empty());
        };
        let fault = |fault| LoadError::Listing {
            name: file.display().to_string(),
            fault,
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_malformed| fault("is not PEM"))?;
            roots
                .add(certificate)
                .map_err(|_unusable| fault("holds a certificate that can't be an authority"))?;
        }
        if roots.is_empty() {
            return Err(fault("holds no certificate"));
        }
        Ok(roots)
    }
}

fn content(base: &Path, file: &Path) -> Result<Vec<u8>, LoadError> {
    let read = || {
        let path = base.join(file);
        // A named pipe would keep the reader waiting for ever.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let mut content = Vec::new();
        File::open(path)?
            .take(LARGEST_FILE)
            .read_to_end(&mut content)?;
        Ok(content)
    };
    read().map_err(|source| LoadError::Read {
        name: file.display().to_string(),
        source,
    })
}

const LARGEST_FILE: u64 = 1024 * 1024;
