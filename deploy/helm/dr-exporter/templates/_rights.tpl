{{- /*
The rights that the configuration needs, as YAML:

  asks: true                          the configuration uses the cluster at all
  nodes: true                         nodes
  cluster: true                       StorageClasses, CRDs
  nodeLeases: true                    Leases of the nodes
  creates: true                       pods, as a dry run
  leases: {namespace, names: [...]}   those that say who probes
  namespaces:
    NAME: {deployments: true, statefulsets: true, services: true, secrets: [...], configMaps: [...]}

The same rules as `dr-exporter rbac FILE` prints; tests/lab/deploy-check compares the two.
*/}}
{{- define "dr-exporter.rights" -}}
{{- $config := .Values.config }}
{{- $found := dict "namespaces" dict }}
{{- $kubernetes := $config.kubernetes | default dict }}
{{- $dryRun := ne (toString (dig "create_dry_run" true $kubernetes)) "false" }}
{{- range $system := $config.systems }}
  {{- range $workload := $system.workloads }}
    {{- if or $workload.deployment $workload.statefulset }}
      {{- $namespace := required (printf "config.systems: the workload %s of the system %s needs a namespace" ($workload.deployment | default $workload.statefulset) $system.name) $workload.namespace }}
      {{- include "dr-exporter.note" (list $found $namespace (ternary "deployments" "statefulsets" (not (not $workload.deployment))) true) }}
      {{- $_ := set $found "nodes" true }}
      {{- $_ := set $found "cluster" true }}
      {{- $_ := set $found "nodeLeases" true }}
      {{- if $dryRun }}{{ $_ := set $found "creates" true }}{{ end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- if dig "identity" nil ($config.site | default dict) }}{{ $_ := set $found "nodes" true }}{{ end }}
{{- include "dr-exporter.references" (list $found $config) }}
{{- with $config.high_availability }}
  {{- $names := list .lease.name }}
  {{- if eq (include "dr-exporter.sharded" $) "true" }}
    {{- $names = list }}
    {{- range until (include "dr-exporter.shards" $ | int) }}{{ $names = append $names (printf "%s-%d" $config.high_availability.lease.name .) }}{{ end }}
  {{- end }}
  {{- $_ := set $found "leases" (dict "namespace" .lease.namespace "names" $names) }}
{{- end }}
{{- if or $found.namespaces $found.nodes $found.leases }}{{ $_ := set $found "asks" true }}{{ end }}
{{- if $found.asks }}
  {{- range $namespace, $names := .Values.rbac.secretNames }}
    {{- range $names }}{{ include "dr-exporter.note" (list $found $namespace "secrets" .) }}{{ end }}
  {{- end }}
  {{- range $namespace, $names := .Values.rbac.configMapNames }}
    {{- range $names }}{{ include "dr-exporter.note" (list $found $namespace "configMaps" .) }}{{ end }}
  {{- end }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{- /*
Walks the configuration for `{secret: {namespace, name, key}}` and for `{service: NAMESPACE/NAME}` as an address: a label
of the application's metrics may be called `service`, too.
*/}}
{{- define "dr-exporter.references" -}}
{{- $found := index . 0 }}
{{- $node := index . 1 }}
{{- if kindIs "map" $node }}
  {{- range $key, $value := $node }}
    {{- if and (eq $key "secret") (kindIs "map" $value) $value.namespace $value.name }}
      {{- include "dr-exporter.note" (list $found $value.namespace "secrets" $value.name) }}
    {{- else if and (has $key (list "connect_to" "target")) (kindIs "map" $value) $value.service }}
      {{- include "dr-exporter.note" (list $found (splitList "/" $value.service | first) "services" true) }}
    {{- else }}
      {{- include "dr-exporter.references" (list $found $value) }}
    {{- end }}
  {{- end }}
{{- else if kindIs "slice" $node }}
  {{- range $node }}{{ include "dr-exporter.references" (list $found .) }}{{ end }}
{{- end }}
{{- end }}

{{- /* Notes one fact about a namespace: `true`, or one more name in a sorted list. */}}
{{- define "dr-exporter.note" -}}
{{- $namespaces := (index . 0).namespaces }}
{{- $namespace := index . 1 }}
{{- $what := index . 2 }}
{{- $value := index . 3 }}
{{- if not (hasKey $namespaces $namespace) }}{{ $_ := set $namespaces $namespace dict }}{{ end }}
{{- $entry := index $namespaces $namespace }}
{{- if kindIs "bool" $value }}
  {{- $_ := set $entry $what true }}
{{- else }}
  {{- $_ := set $entry $what (append (dig $what list $entry) $value | uniq | sortAlpha) }}
{{- end }}
{{- end }}

{{- /* Does the pod need a token? */}}
{{- define "dr-exporter.token" -}}
{{- $wish := .Values.serviceAccount.automountServiceAccountToken }}
{{- if kindIs "bool" $wish }}{{ $wish }}
{{- else }}{{ if (include "dr-exporter.rights" . | fromYaml).asks }}true{{ else }}false{{ end }}
{{- end }}
{{- end }}

{{- define "dr-exporter.subjects" -}}
- kind: ServiceAccount
  name: {{ include "dr-exporter.serviceAccountName" . }}
  namespace: {{ include "dr-exporter.namespace" . }}
{{- end }}

{{- /* A Role or ClusterRole and its binding. Called with the root, a mapping {kind, name, namespace} and the rules. */}}
{{- define "dr-exporter.role" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 }}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $role.kind }}
metadata:
  name: {{ $role.name }}
  {{- with $role.namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "dr-exporter.labels" (list $root $root.Values.rbac.labels) | nindent 4 }}
  {{- with $root.Values.rbac.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
rules:
  {{- index . 2 | trim | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $role.kind }}Binding
metadata:
  name: {{ $role.name }}
  {{- with $role.namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "dr-exporter.labels" (list $root $root.Values.rbac.labels) | nindent 4 }}
  {{- with $root.Values.rbac.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $role.kind }}
  name: {{ $role.name }}
subjects:
  {{- include "dr-exporter.subjects" $root | nindent 2 }}
{{- end }}
