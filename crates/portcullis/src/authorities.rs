//! Certificate authorities that the operator brings for applications behind https (PX-279).

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::Failure;

/// The certificates in these PEM files.
///
/// # Errors
/// One line that names the setting and the file: it cannot be read, has no certificate, or one that is none.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let mut all = Vec::new();
    for file in files {
        let certificates = one(file)
            .map_err(|problem| format!("cannot use {} (proxy.upstream_authorities): {problem}", file.display()))?;
        all.extend(certificates);
    }
    Ok(all)
}

fn one(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = std::fs::read(file)?;
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|_| "it is no PEM")?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".into());
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone())?;
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-279: files with certificates are read, all of them; any other is refused by name.
    #[test]
    fn px_279_files_hold_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pem = || rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
        let [one, two] = [file("one", &pem()), file("two", &format!("words\n{}{}", pem(), pem()))];
        assert_eq!(read(&[one.clone(), two]).unwrap().len(), 3);
        assert_eq!(read(&[]).unwrap().len(), 0);
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in [file("empty", ""), file("cut", cut), file("broken", &pem()[..200]), directory.path().join("none")] {
            let problem = read(&[one.clone(), bad.clone()]).unwrap_err().to_string();
            let named = format!("cannot use {} (proxy.upstream_authorities): ", bad.display());
            assert!(problem.starts_with(&named) && !problem.contains('\n'), "{problem}");
        }
    }
}
