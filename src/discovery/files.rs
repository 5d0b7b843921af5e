//! A file in a container, as far as ConfigMaps and Secrets make it. Pure.
//!
//! The mount with the longest path that holds the file decides, whatever the order of mounts. A volume without `items`
//! has a file for each key; with `items`, only those. Of several sources of a projected volume the later one wins.

use super::objects::{
    ConfigMapFiles, Container, KeyToPath, PodSpec, Projected, Projection, SecretFiles, Volume, VolumeMount,
};
use super::recipe::{Demand, Recipe, Value};
use super::variables::{Held, config_map, no_config_map};
use super::{Gap, Inventory, ObjectRef};
use crate::model::GapReason;

/// The namespace and the pod in which files are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'i> {
    /// What is known.
    pub inventory: &'i Inventory,
    /// The namespace of the pod.
    pub namespace: &'i str,
    /// The pod.
    pub pod: &'i PodSpec,
    /// The container.
    pub container: &'i Container,
}

// === impl Place ===

impl<'i> Place<'i> {
    /// What the file holds; nothing, if no ConfigMap and no Secret makes it: then it is in the image, or something else
    /// writes it.
    ///
    /// # Errors
    ///
    /// The path is not absolute, or what should make the file is not there or cannot be seen.
    pub fn file(&self, path: &str) -> Held {
        let Some(wanted) = parts(path) else {
            let words =
                format!("{path} is not an absolute path, so it depends on where the program was started");
            return Err(Gap::new(GapReason::Unsupported, words));
        };
        let mounts = self.container.volume_mounts.iter().filter_map(|mount| {
            let at = parts(&mount.mount_path)?;
            Some((at.len(), mount, wanted.strip_prefix(at.as_slice())?.to_vec()))
        });
        let Some((_, mount, rest)) = mounts.max_by_key(|(depth, _, _)| *depth) else { return Ok(None) };
        let VolumeMount { name, mount_path: _, sub_path, sub_path_expr } = mount;
        if sub_path_expr.is_some() {
            let words = format!("{path} is mounted by a subPathExpr, which depends on the pod");
            return Err(Gap::new(GapReason::Unsupported, words));
        }
        let within: Vec<&str> = sub_path.iter().flat_map(|sub| sub.split('/')).chain(rest).collect();
        let within: Vec<&str> =
            within.into_iter().filter(|part| !matches!(*part, "" | "." | "..data")).collect();
        let Some(volume) = self.pod.volumes.iter().find(|volume| volume.name == *name) else {
            return Ok(None);
        };
        let found = self.in_volume(volume, &within.join("/"), path)?;
        Ok(found.map(|value| Value { recipe: value.recipe.of_file(), ..value }))
    }

    fn in_volume(&self, volume: &Volume, within: &str, path: &str) -> Held {
        let Volume { name: _, config_map, secret, projected, persistent_volume_claim: _ } = volume;
        let single;
        let sources = match (config_map, secret, projected) {
            (None, None, Some(Projected { sources })) => sources.as_slice(),
            (None, None, None) => return Ok(None),
            (config_map, secret, _) => {
                single = [Projection { config_map: config_map.clone(), secret: secret.clone() }];
                &single
            }
        };
        let mut held: Held = Ok(None);
        for Projection { config_map, secret } in sources {
            if let Some(source) = config_map {
                match self.of_config_map(source, within, path) {
                    Ok(None) => {}
                    found => held = found,
                }
            }
            if let Some(SecretFiles { secret_name, items, optional }) = secret
                && let Some((key, listed)) = key(items, within)
            {
                let demand = match (optional, listed) {
                    (true, _) => Demand::Nothing,
                    (false, true) => Demand::Key,
                    (false, false) => Demand::Object,
                };
                let object = ObjectRef::new(self.namespace, secret_name);
                let value = Value {
                    recipe: Recipe::key(object, key, demand, None),
                    origin: format!("from Secret {secret_name}, key {key}"),
                };
                held = Ok(Some(value.or(held?)));
            }
        }
        held
    }

    fn of_config_map(&self, source: &ConfigMapFiles, within: &str, path: &str) -> Held {
        let ConfigMapFiles { name, items, optional } = source;
        let Some((key, listed)) = key(items, within) else { return Ok(None) };
        let object = ObjectRef::new(self.namespace, name);
        let data = config_map(self.inventory, &object)?;
        match data.map(|data| data.get(key)) {
            Some(Some(text)) => Ok(Some(Value {
                recipe: Recipe::text(text),
                origin: format!("from ConfigMap {name}, key {key}"),
            })),
            None if !optional => Err(no_config_map(&object, &format!("which the file {path} is made of"))),
            Some(None) if listed && !optional => Err(Gap::new(
                GapReason::NotFound,
                format!(
                    "the ConfigMap {object} has no text under key {key}, which the file {path} is made of"
                ),
            )),
            _ => Ok(None),
        }
    }
}

/// The key whose file is at that path in the volume, and whether it is listed.
fn key<'a>(items: &'a [KeyToPath], within: &'a str) -> Option<(&'a str, bool)> {
    if items.is_empty() {
        // A key holds no slash.
        return (!within.is_empty() && !within.contains('/')).then_some((within, false));
    }
    let same = |path: &str| path.split('/').filter(|part| !matches!(*part, "" | ".")).eq(within.split('/'));
    items.iter().find(|item| same(&item.path)).map(|item| (&*item.key, true))
}

/// The parts of an absolute path, `.` and `..` carried out.
fn parts(path: &str) -> Option<Vec<&str>> {
    let path = path.trim();
    let path = path.strip_prefix("file://").unwrap_or(path);
    let mut parts = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::objects::Template;
    use crate::discovery::testing::{World, deployment};

    const TEMPLATE: &str = r"
spec:
  containers:
  - name: api
    volumeMounts:
    - {name: all, mountPath: /etc/app/}
    - {name: listed, mountPath: /etc/app/db}
    - {name: all, mountPath: /opt/url.txt, subPath: url}
    - {name: listed, mountPath: /sub, subPath: deep}
    - {name: mixed, mountPath: /run/secrets}
    - {name: scratch, mountPath: /run/secrets/agent}
    - {name: all, mountPath: /by-pod, subPathExpr: $(POD_NAME)}
    - {name: absent, mountPath: /absent}
    - {name: maybe, mountPath: /maybe}
  volumes:
  - {name: all, configMap: {name: app}}
  - {name: listed, secret: {secretName: orders-db, items: [{key: uri, path: url}, {key: pw, path: deep/password}]}}
  - name: mixed
    projected:
      sources:
      - configMap: {name: app}
      - serviceAccountToken: {path: token}
      - secret: {name: orders-db}
      - secret: {name: extra, optional: true, items: [{key: k, path: only}]}
  - {name: scratch, emptyDir: {}}
  - {name: absent, configMap: {name: gone}}
  - {name: maybe, configMap: {name: gone, optional: true}}
";

    fn look(path: &str) -> Result<Option<String>, String> {
        let world =
            World::new().deployment("api", TEMPLATE).config_map("app", &[("url", "map\n"), ("x", "y")]);
        let world = world.no_config_map("gone").secret("extra", &[("k", "extra")]);
        let world =
            world.secret("orders-db", &[("uri", "secret"), ("pw", "hunter2"), ("url", "from-secret")]);
        let Template { spec, .. } = &world.inventory.controllers[&deployment("api")].template;
        let place = Place {
            inventory: &world.inventory,
            namespace: "platform",
            pod: spec,
            container: &spec.containers[0],
        };
        let found = place.file(path).map_err(|gap| gap.to_string())?;
        let Some(value) = found else { return Ok(None) };
        let text = value.recipe.cook(&world.read).map_err(|gap| gap.to_string())?;
        Ok(text.map(|text| format!("{} {}", text.expose(), value.origin)))
    }

    #[test]
    fn paths_lead_to_keys() {
        for (path, expected) in [
            ("/etc/app/url", Some("map from ConfigMap app, key url")),
            ("/etc/app//./x", Some("y from ConfigMap app, key x")),
            ("/etc/app/db/../x", Some("y from ConfigMap app, key x")),
            ("file:///etc/app/..data/x", Some("y from ConfigMap app, key x")),
            // The longer mount hides what the shorter one has.
            ("/etc/app/db/url", Some("secret from Secret orders-db, key uri")),
            ("/etc/app/db/x", None),
            ("/etc/app/db/uri", None),
            ("/etc/app/dbx", None),
            ("/opt/url.txt", Some("map from ConfigMap app, key url")),
            ("/sub/password", Some("hunter2 from Secret orders-db, key pw")),
            (
                "/run/secrets/url",
                Some("from-secret from Secret orders-db, key url, else from ConfigMap app, key url"),
            ),
            ("/run/secrets/x", Some("y from Secret orders-db, key x, else from ConfigMap app, key x")),
            (
                "/run/secrets/only",
                Some("extra from Secret extra, key k, else from Secret orders-db, key only"),
            ),
            ("/run/secrets/agent/url", None),
            ("/run/secrets/nothing", None),
            ("/etc/passwd", None),
            ("/maybe/url", None),
        ] {
            assert_eq!(look(path), Ok(expected.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_told_says_why() {
        for (path, expected) in [
            (
                "config/url",
                "config/url is not an absolute path, so it depends on where the program was started",
            ),
            ("/by-pod/url", "/by-pod/url is mounted by a subPathExpr, which depends on the pod"),
            ("/absent/url", "there is no ConfigMap platform/gone, which the file /absent/url is made of"),
        ] {
            assert_eq!(look(path), Err(expected.to_owned()));
        }
    }
}
