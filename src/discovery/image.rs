//! An image reference as container runtimes read it, and the registry that it leads to. Pure.

/// An image reference, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The host of the registry, in small letters and without brackets; `docker.io` when the reference names none.
    pub registry: String,
    /// The path of the image in the registry, such as `library/postgres`.
    pub repository: String,
    /// Its tag, if it has one.
    pub tag: Option<String>,
    /// Its digest with the name of the algorithm, if it has one.
    pub digest: Option<String>,
}

/// The registry of references that name none.
const DEFAULT_REGISTRY: &str = "docker.io";

// === impl Image ===

impl Image {
    /// Takes a reference apart by the rules of github.com/distribution/reference (`normalize.go`): what stands before the first
    /// `/` is a host if it holds a dot, a colon or a capital, or is `localhost`. `None` if it names no image.
    pub fn parse(reference: &str) -> Option<Self> {
        let reference = reference.trim();
        if reference.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let (named, digest) = match reference.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (reference, None),
        };
        let is_host = |first: &str| {
            first == "localhost" || first.contains(['.', ':']) || first.contains(|c: char| c.is_uppercase())
        };
        let (host, path) = match named.split_once('/') {
            Some((first, path)) if is_host(first) => (first, path),
            _ => (DEFAULT_REGISTRY, named),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        let registry = match without_port(host).to_ascii_lowercase() {
            alias if alias == "index.docker.io" || alias == "registry-1.docker.io" => {
                DEFAULT_REGISTRY.to_owned()
            }
            registry => registry,
        };
        let bare = registry == DEFAULT_REGISTRY && !path.contains('/');
        let repository = if bare { format!("library/{path}") } else { path.to_owned() };
        let empty = [Some(path), tag, digest, Some(&registry)].into_iter().flatten().any(str::is_empty);
        let path_is_sound = path.split('/').all(|part| !part.is_empty()) && !path.contains([':', '@']);
        (!empty && path_is_sound).then(|| Image {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// The host that is asked for the image: Docker Hub serves from another name than references say.
    pub fn host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { &self.registry }
    }
}

/// `host:port` or `[v6]:port` without the port and without the brackets.
fn without_port(host: &str) -> &str {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split_once(']').map_or(inner, |(ip, _)| ip);
    }
    host.split_once(':').map_or(host, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_runtimes_read_them() {
        for (reference, registry, repository, tag, digest) in [
            ("nginx", "docker.io", "library/nginx", None, None),
            ("nginx:1.27", "docker.io", "library/nginx", Some("1.27"), None),
            ("grafana/grafana:11", "docker.io", "grafana/grafana", Some("11"), None),
            ("index.docker.io/library/nginx", "docker.io", "library/nginx", None, None),
            ("localhost/api", "localhost", "api", None, None),
            ("localhost:5000/api:1", "localhost", "api", Some("1"), None),
            ("Registry/api", "registry", "api", None, None),
            ("registry/api", "docker.io", "registry/api", None, None),
            ("10.0.0.5:5000/api", "10.0.0.5", "api", None, None),
            ("[2001:db8::1]:5000/team/api:2", "2001:db8::1", "team/api", Some("2"), None),
            ("quay.io/a/b/c@sha256:0f", "quay.io", "a/b/c", None, Some("sha256:0f")),
            ("quay.io/a/b:1@sha256:0f", "quay.io", "a/b", Some("1"), Some("sha256:0f")),
            (
                "1234.dkr.ecr.us-east-1.amazonaws.com/api:v1",
                "1234.dkr.ecr.us-east-1.amazonaws.com",
                "api",
                Some("v1"),
                None,
            ),
        ] {
            let image = Image::parse(reference).unwrap_or_else(|| panic!("{reference}"));
            let seen = (&*image.registry, &*image.repository, image.tag.as_deref(), image.digest.as_deref());
            assert_eq!(seen, (registry, repository, tag, digest), "{reference}");
        }
        assert_eq!(Image::parse("nginx").unwrap().host(), "registry-1.docker.io");
        assert_eq!(Image::parse("quay.io/a").unwrap().host(), "quay.io");
    }

    #[test]
    fn what_names_no_image_is_none() {
        for reference in
            ["", " ", "a b", "quay.io/", "quay.io/a:", "quay.io/a@", "quay.io//a", ":5000/a", "a:b:c"]
        {
            assert_eq!(Image::parse(reference), None, "{reference:?}");
        }
    }
}
