//! The variables of a container as the kubelet makes them. Pure.
//!
//! Source: Kubernetes, `pkg/kubelet/kubelet_pods.go` (`makeEnvironmentVariables`) and
//! `third_party/forked/golang/expansion`. `envFrom` comes first, in order, the later one wins; then `env`, in order, the
//! later one wins, and `$(NAME)` means what NAME is *at that point*; what is not set then stays as it is written. Values
//! from references are not looked into. Variables of Services (`X_SERVICE_HOST`) are seen by `$(NAME)`, and are
//! overridden by all others.
//!
//! **What is in a Secret is not known here**, not even which keys it has. So a variable that an `envFrom` Secret may set
//! is a recipe that says: that key of that Secret, and where it has no such key, what would hold without this Secret.
//! That keeps the precedence without reading anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inventory::Controller;
use super::objects::{Container, EnvFrom, EnvSource, FieldRef, KeyRef, Pairs, Template};
use super::recipe::{Demand, Recipe, Value};
use super::{Feed, Gap, Inventory, ObjectRef, WorkloadRef, in_sight};
use crate::model::{GapReason, Resource};

/// What a variable is: a value, nothing, or something that cannot be told.
pub type Held = Result<Option<Value>, Gap>;

/// The variables of one container.
#[derive(Debug)]
pub struct Environment<'i> {
    inventory: &'i Inventory,
    namespace: &'i Arc<str>,
    template: &'i Template,
    whole: &'i [EnvFrom],
    own: BTreeMap<&'i str, Held>,
}

// === impl Environment ===

impl<'i> Environment<'i> {
    /// Of a container of a workload.
    pub fn of(
        inventory: &'i Inventory,
        workload: &'i WorkloadRef,
        controller: &'i Controller,
        container: &'i Container,
    ) -> Self {
        let mut environment = Environment {
            inventory,
            namespace: workload.namespace(),
            template: &controller.template,
            whole: &container.env_from,
            own: BTreeMap::new(),
        };
        for variable in &container.env {
            let name = &*variable.name;
            let held = match (variable.value.as_deref().unwrap_or_default(), &variable.value_from) {
                ("", Some(source)) => environment.referred(name, source),
                (text, _) => environment.expanded(text).map(Some),
            };
            environment.own.insert(name, held);
        }
        environment
    }

    /// What the variable is.
    ///
    /// # Errors
    ///
    /// It is set from something that is not there, that we may not read, or that differs from pod to pod.
    pub fn get(&self, name: &str) -> Held {
        match self.own.get(name) {
            Some(held) => held.clone(),
            None => match self.in_whole(name)? {
                Some(value) if value.recipe.is_certain() => Ok(Some(value)),
                Some(value) => Ok(Some(value.or(self.in_services(name)?))),
                None => self.in_services(name),
            },
        }
    }

    /// The names that are certain to be set, or certain to be wrong: those of `env` and of whole ConfigMaps.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.own.keys().map(|name| (*name).to_owned()).collect();
        for source in self.whole {
            let Some(reference) = &source.config_map_ref else { continue };
            if let Ok(Some(data)) = config_map(self.inventory, &self.object(&reference.name)) {
                let prefixed = data.keys().map(|key| format!("{}{key}", source.prefix));
                names.extend(prefixed.filter(|name| is_name(name)));
            }
        }
        names
    }

    /// The prefixes of whole Secrets, of which nobody knows yet which variables they set.
    pub fn open_prefixes(&self) -> impl Iterator<Item = &'i str> + use<'i> {
        self.whole.iter().filter(|source| source.secret_ref.is_some()).map(|source| &*source.prefix)
    }

    /// Why a whole ConfigMap cannot be told, so that nobody knows which variables it sets.
    ///
    /// # Errors
    ///
    /// The first such ConfigMap.
    pub fn is_complete(&self) -> Result<(), Gap> {
        for source in self.whole {
            if let Some(reference) = &source.config_map_ref {
                self.whole_config_map(&reference.name, reference.optional)?;
            }
        }
        Ok(())
    }

    fn object(&self, name: &str) -> ObjectRef {
        ObjectRef::new(self.namespace, name)
    }

    fn in_whole(&self, name: &str) -> Held {
        let mut held: Held = Ok(None);
        for EnvFrom { prefix, config_map_ref, secret_ref } in self.whole {
            let Some(key) = name.strip_prefix(&**prefix).filter(|key| !key.is_empty() && is_name(name))
            else {
                continue;
            };
            if let Some(reference) = config_map_ref {
                match self.whole_config_map(&reference.name, reference.optional) {
                    Err(gap) => held = Err(gap),
                    Ok(data) => {
                        if let Some(text) = data.and_then(|data| data.get(key)) {
                            let origin = format!("from ConfigMap {}, key {key}", reference.name);
                            held = Ok(Some(Value { recipe: Recipe::text(text), origin }));
                        }
                    }
                }
            }
            if let Some(reference) = secret_ref {
                let before = held?;
                let demand = if reference.optional { Demand::Nothing } else { Demand::Object };
                held = Ok(Some(self.key_of_secret(&reference.name, key, demand).or(before)));
            }
        }
        held
    }

    fn whole_config_map(&self, name: &str, optional: bool) -> Result<Option<&'i Pairs>, Gap> {
        match config_map(self.inventory, &self.object(name))? {
            None if !optional => Err(no_config_map(&self.object(name), "which all variables are taken from")),
            data => Ok(data),
        }
    }

    fn key_of_secret(&self, name: &str, key: &str, demand: Demand) -> Value {
        Value {
            recipe: Recipe::key(self.object(name), key, demand, None),
            origin: format!("from Secret {name}, key {key}"),
        }
    }

    fn referred(&self, name: &str, source: &EnvSource) -> Held {
        let EnvSource { config_map_key_ref, secret_key_ref, field_ref } = source;
        match (config_map_key_ref, secret_key_ref, field_ref) {
            (Some(KeyRef { name: object, key, optional }), _, _) => {
                let data = config_map(self.inventory, &self.object(object))?;
                match data.and_then(|data| data.get(key)) {
                    Some(text) => Ok(Some(Value {
                        recipe: Recipe::text(text),
                        origin: format!("from ConfigMap {object}, key {key}"),
                    })),
                    // The kubelet leaves what was before.
                    None if *optional => self.get_before(name),
                    None => Err(match data {
                        None => no_config_map(
                            &self.object(object),
                            &format!("of which variable {name} needs key {key}"),
                        ),
                        Some(_) => Gap::new(
                            GapReason::NotFound,
                            format!(
                                "the ConfigMap {} has no key {key}, which variable {name} needs",
                                self.object(object)
                            ),
                        ),
                    }),
                }
            }
            (None, Some(KeyRef { name: object, key, optional }), _) => {
                let demand = if *optional { Demand::Nothing } else { Demand::Key };
                let value = self.key_of_secret(object, key, demand);
                Ok(Some(if *optional { value.or(self.get_before(name)?) } else { value }))
            }
            (None, None, Some(FieldRef { field_path })) => self.field(name, field_path).map(Some),
            (None, None, None) => Err(Gap::new(
                GapReason::Unsupported,
                format!("variable {name} is taken from something that only the kubelet knows"),
            )),
        }
    }

    /// What a variable was before its own line: variables of Services do not count there.
    fn get_before(&self, name: &str) -> Held {
        self.own.get(name).cloned().unwrap_or_else(|| self.in_whole(name))
    }

    fn field(&self, name: &str, path: &str) -> Result<Value, Gap> {
        let meta = &self.template.metadata;
        let within = |kind: &str| path.strip_prefix(kind)?.strip_prefix("['")?.strip_suffix("']");
        let text = if path == "metadata.namespace" {
            Some(&**self.namespace)
        } else if let Some(label) = within("metadata.labels") {
            Some(meta.labels.get(label).map_or("", |value| &**value))
        } else {
            within("metadata.annotations").map(|key| meta.annotations.get(key).map_or("", |value| &**value))
        };
        match text {
            Some(text) => Ok(Value { recipe: Recipe::text(text), origin: format!("from {path}") }),
            None => Err(Gap::new(
                GapReason::Unsupported,
                format!("variable {name} depends on the pod ({path}), so it is not the same for all of them"),
            )),
        }
    }

    /// `X_SERVICE_HOST` and `X_SERVICE_PORT` of the Services in the namespace.
    fn in_services(&self, name: &str) -> Held {
        if self.template.spec.enable_service_links == Some(false) {
            return Ok(None);
        }
        let (upper, host) = match (name.strip_suffix("_SERVICE_HOST"), name.strip_suffix("_SERVICE_PORT")) {
            (Some(upper), _) => (upper, true),
            (None, Some(upper)) => (upper, false),
            (None, None) => return Ok(None),
        };
        in_sight(self.inventory, [&Feed::all(Resource::Services, Some(self.namespace))])?;
        let found = self.inventory.services.iter().find(|(object, _)| {
            object.namespace == *self.namespace && object.name.to_uppercase().replace('-', "_") == upper
        });
        let Some((object, (_, spec, _))) = found else { return Ok(None) };
        let address = spec.cluster_ip.as_deref().filter(|address| !matches!(*address, "None" | ""));
        let text = address.and_then(|address| {
            if host { Some(address.to_owned()) } else { Some(spec.ports.first()?.port.to_string()) }
        });
        let value = |text: String| Value {
            recipe: Recipe::text(&text),
            origin: format!("from Service {}", object.name),
        };
        Ok(text.map(value))
    }

    /// `$(NAME)` replaced and `$$` halved.
    fn expanded(&self, text: &str) -> Result<Value, Gap> {
        let (mut recipe, mut origins) = (Recipe::default(), Vec::new());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            recipe.push_text(&rest[..at]);
            let after = &rest[at + 1..];
            let name = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            if let Some((name, tail)) = name {
                let literal = format!("$({name})");
                match self.get(name)? {
                    Some(value) => {
                        if !value.origin.is_empty() {
                            origins.push(format!("{name} {}", value.origin));
                        }
                        recipe.push(value.recipe, &literal);
                    }
                    None => recipe.push_text(&literal),
                }
                rest = tail;
            } else {
                recipe.push_text("$");
                // The character behind is not looked at again: `$$(X)` is `$(X)`.
                let skipped = after.chars().next().map_or(0, char::len_utf8);
                recipe.push_text(if after.starts_with('$') { "" } else { &after[..skipped] });
                rest = &after[skipped..];
            }
        }
        recipe.push_text(rest);
        origins.dedup();
        let origin =
            if origins.is_empty() { String::new() } else { format!("with {}", origins.join(" and ")) };
        Ok(Value { recipe, origin })
    }
}

/// The texts of a ConfigMap, `None` if there is no such one.
///
/// # Errors
///
/// It cannot be seen.
pub fn config_map<'i>(inventory: &'i Inventory, object: &ObjectRef) -> Result<Option<&'i Pairs>, Gap> {
    in_sight(inventory, [&Feed::named(Resource::ConfigMaps, object)])?;
    Ok(inventory.config_maps.get(object))
}

/// That a ConfigMap is not there, and what it is needed for.
pub fn no_config_map(object: &ObjectRef, needed: &str) -> Gap {
    Gap::new(GapReason::NotFound, format!("there is no ConfigMap {object}, {needed}"))
}

/// What the kubelet takes for a name of a variable: printable ASCII without `=` (since Kubernetes 1.32; letters, digits,
/// `-`, `_` and `.` before). What it does not take, it skips.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| matches!(c, ' '..='~') && c != '=')
}

#[cfg(test)]
mod tests;
