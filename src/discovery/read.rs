//! Reads the Secrets that a workload's connection string needs, each once an attempt, and makes the string.

use std::path::Path;

use super::dsn::{Settled, Wiring};
use super::files::Place;
use super::lookup::{Named, lookup};
use super::objects::Container;
use super::recipe::{Read, Recipe};
use super::workload::{containers, controller};
use super::{Cluster, Gap, WorkloadRef};
use crate::model::GapReason;
use crate::net::dsn::{Dsn, Pem, RootCert};
use crate::secret::{Secret, Secrets};

/// Bundles of the roots of operating systems, which images bring along: the same as our own.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// The connection string of a workload, with every file that it names read from where its container has it.
///
/// `password` is for an address that has none, `ca_file` for a root certificate that is in the image.
///
/// # Errors
///
/// A Secret that cannot be read or is not there, a text that is not understood, more than one candidate.
pub async fn connection(
    wiring: &Wiring,
    cluster: &Cluster,
    secrets: &Secrets,
    password: Option<&Secret>,
    ca_file: Option<&Path>,
) -> Result<Settled, Gap> {
    let mut read = Read::new();
    for secret in wiring.secrets() {
        read.insert(secret.clone(), secrets.whole(&secret.namespace, &secret.name).await);
    }
    let mut settled = wiring.settle(&read, password)?;
    let container = wiring
        .candidates
        .get(settled.candidate)
        .and_then(|candidate| candidate.containers.first().cloned())
        .unwrap_or_default();
    let mut reader = Reader { wiring, cluster, secrets, container: &container, read };
    let Dsn { ssl_root_cert, ssl_cert, ssl_key, .. } = &mut settled.dsn;
    if let Some(RootCert::Pem(Pem::File(path))) = ssl_root_cert.clone() {
        let name = path.to_string_lossy();
        *ssl_root_cert = Some(match reader.file(&name).await? {
            Some(pem) => RootCert::Pem(pem),
            None if ca_file.is_some() => {
                RootCert::Pem(Pem::File(ca_file.map(Path::to_owned).unwrap_or_default()))
            }
            None if SYSTEM_BUNDLES.contains(&&*name) => RootCert::System,
            None => return Err(reader.in_image(&name, "the root certificate", "`endpoint.tls.ca_file`")),
        });
    }
    for file in [ssl_cert, ssl_key] {
        if let Some(Pem::File(path)) = file.clone() {
            let name = path.to_string_lossy();
            match reader.file(&name).await? {
                Some(pem) => *file = Some(pem),
                None => {
                    return Err(reader.in_image(
                        &name,
                        "the client certificate or its key",
                        "`endpoint.url`",
                    ));
                }
            }
        }
    }
    Ok(settled)
}

/// The text of a workload by the name of a variable or of a file, with its Secrets read now.
///
/// # Errors
///
/// It is not there, cannot be seen, or differs between containers.
pub async fn text(
    cluster: &Cluster,
    secrets: &Secrets,
    workload: &WorkloadRef,
    named: &Named,
) -> Result<Secret, Gap> {
    let value = cluster.read(|inventory| lookup(inventory, workload, named))?;
    let mut read = Read::new();
    for secret in value.recipe.secrets() {
        read.insert(secret.clone(), secrets.whole(&secret.namespace, &secret.name).await);
    }
    value.recipe.cook(&read)?.ok_or_else(|| {
        Gap::new(GapReason::NotFound, format!("{workload}: what was looked for is not set {}", value.origin))
    })
}

/// Reads files of one container.
struct Reader<'a> {
    wiring: &'a Wiring,
    cluster: &'a Cluster,
    secrets: &'a Secrets,
    container: &'a str,
    read: Read,
}

// === impl Reader ===

impl Reader<'_> {
    /// What a file holds, if a ConfigMap or a Secret makes it.
    async fn file(&mut self, path: &str) -> Result<Option<Pem>, Gap> {
        let Some((recipe, origin)) = self.recipe(path)? else { return Ok(None) };
        for secret in recipe.secrets() {
            if !self.read.contains_key(secret) {
                self.read.insert(secret.clone(), self.secrets.whole(&secret.namespace, &secret.name).await);
            }
        }
        let text = recipe.cook(&self.read)?;
        Ok(text.map(|text| Pem::Text { text, from: format!("{path} {origin}") }))
    }

    fn recipe(&self, path: &str) -> Result<Option<(Recipe, String)>, Gap> {
        let workload = &self.wiring.workload;
        self.cluster.read(|inventory| {
            let pod = &controller(inventory, workload)?.template.spec;
            let named = |container: &&Container| *container.name == *self.container;
            let Some(container) = containers(pod).find(named) else { return Ok(None) };
            let place = Place { inventory, namespace: workload.namespace(), pod, container };
            Ok(place.file(path)?.map(|value| (value.recipe, value.origin)))
        })
    }

    fn in_image(&self, path: &str, what: &str, instead: &str) -> Gap {
        let (workload, container) = (&self.wiring.workload, self.container);
        let words = format!(
            "{what} {path} of {workload}, container {container}, is made by no ConfigMap and no Secret: give {instead}"
        );
        Gap::new(GapReason::NotFound, words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::dsn::endpoint;
    use crate::discovery::testing::{World, deployment};
    use crate::net::dsn::SslMode;
    use crate::secret::KubernetesAccess;

    /// An address with these parameters, in a container that has `ca.crt` from a ConfigMap in `/certs`.
    async fn look(parameters: &str, ca_file: Option<&Path>) -> Result<Dsn, Gap> {
        let template = format!(
            "{{spec: {{containers: [{{name: api, volumeMounts: [{{name: certs, mountPath: /certs}}, {{name: keys, mountPath: /keys}}], env: [{{name: DATABASE_URL, value: 'postgres://u:p@h/d?{parameters}'}}]}}], volumes: [{{name: certs, configMap: {{name: ca}}}}, {{name: keys, secret: {{secretName: client}}}}]}}}}"
        );
        let world = World::new().deployment("api", &template).config_map("ca", &[("ca.crt", "PEM")]);
        let wiring = endpoint(&world.inventory, &deployment("api"), Some("DATABASE_URL"), None)?;
        let secrets = Secrets::new(KubernetesAccess::Disabled);
        let settled = connection(&wiring, &Cluster::of(world.inventory), &secrets, None, ca_file).await?;
        Ok(settled.dsn)
    }

    #[tokio::test]
    async fn certificates_come_from_where_the_container_has_them() {
        let dsn = look("sslmode=verify-full&sslrootcert=/certs/ca.crt", None).await.unwrap();
        let from = "/certs/ca.crt from ConfigMap ca, key ca.crt".to_owned();
        let expected = RootCert::Pem(Pem::Text { text: Secret::new("PEM"), from });
        assert_eq!(dsn.ssl_root_cert, Some(expected));
        let bundle = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt";
        assert_eq!(look(bundle, None).await.unwrap().ssl_root_cert, Some(RootCert::System));
        let in_image = "sslmode=verify-ca&sslrootcert=/app/rds.pem";
        let gap = look(in_image, None).await.unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::NotFound));
        assert_eq!(
            gap.detail,
            "the root certificate /app/rds.pem of Deployment platform/api, container api, is made by no ConfigMap and no Secret: give `endpoint.tls.ca_file`"
        );
        let given = look(in_image, Some(Path::new("/here/ca.pem"))).await.unwrap();
        assert_eq!(given.ssl_root_cert, Some(RootCert::Pem(Pem::File("/here/ca.pem".into()))));
        assert_eq!(given.ssl_mode, SslMode::VerifyCa);
    }

    #[tokio::test]
    async fn without_a_way_to_the_api_secrets_are_not_seen_which_accuses_nobody() {
        let gap = look("sslmode=require&sslcert=/keys/tls.crt&sslkey=/keys/tls.key", None).await.unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::NotFound), "{}", gap.detail);
        let gap = look("sslmode=require&sslcert=/app/tls.crt&sslkey=/app/tls.key", None).await.unwrap_err();
        assert!(gap.detail.contains("give `endpoint.url`"), "{}", gap.detail);
    }
}
