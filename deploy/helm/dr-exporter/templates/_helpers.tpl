{{- define "dr-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* At most 52 characters: a StatefulSet's pods carry a label with 11 more. */}}
{{- define "dr-exporter.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "dr-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- /* Of what is not in our own namespace, where a second release may have the same name. */}}
{{- define "dr-exporter.clusterName" -}}
{{- printf "%s-%s" (include "dr-exporter.namespace" .) (include "dr-exporter.fullname" .) }}
{{- end }}

{{- define "dr-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dr-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Called with the root and a mapping of more labels; none of ours is overridden, and no key comes twice. */}}
{{- define "dr-exporter.labels" -}}
{{- $root := index . 0 }}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" ($root.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/managed-by" $root.Release.Service
  "app.kubernetes.io/component" "exporter"
  "app.kubernetes.io/part-of" (include "dr-exporter.name" $root) }}
{{- $ours = merge (include "dr-exporter.selectorLabels" $root | fromYaml) $ours }}
{{- toYaml (merge $ours (index . 1) $root.Values.commonLabels) }}
{{- end }}

{{- define "dr-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "dr-exporter.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dr-exporter.image" -}}
{{- $name := .Values.image.repository }}
{{- with .Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end }}
{{- if .Values.image.digest }}{{ $name }}@{{ .Values.image.digest }}
{{- else }}{{ $name }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- /* One shard is a StatefulSet, too: it is told its ordinal by its name. */}}
{{- define "dr-exporter.sharded" -}}
{{- if .Values.config.sharding }}true{{ else }}false{{ end }}
{{- end }}

{{- define "dr-exporter.shards" -}}
{{- dig "shards" 1 (.Values.config.sharding | default dict) | int }}
{{- end }}

{{- define "dr-exporter.replicas" -}}
{{- if eq (include "dr-exporter.sharded" .) "true" }}{{ include "dr-exporter.shards" . }}{{ else }}{{ .Values.replicaCount | int }}{{ end }}
{{- end }}

{{- define "dr-exporter.serviceName" -}}
{{- include "dr-exporter.fullname" . }}{{ if eq (include "dr-exporter.sharded" .) "true" }}-shards{{ end }}
{{- end }}

{{- /* What cannot work is refused here, with what to do. */}}
{{- define "dr-exporter.validate" -}}
{{- $sharded := eq (include "dr-exporter.sharded" .) "true" }}
{{- if and (gt (.Values.replicaCount | int) 1) $sharded }}
{{- fail "replicaCount: with config.sharding the number of pods is that of the shards; leave replicaCount at 1" }}
{{- end }}
{{- if and (gt (.Values.replicaCount | int) 1) (not .Values.config.high_availability) }}
{{- fail "replicaCount is more than 1, and every replica would probe: set config.high_availability: {lease: {namespace: ..., name: ...}}" }}
{{- end }}
{{- if and $sharded (ne (dig "ordinal" nil .Values.config.sharding) nil) }}
{{- fail "config.sharding.ordinal: leave it out, each pod takes its own from its name" }}
{{- end }}
{{- $disabled := eq (dig "mode" "auto" (.Values.config.kubernetes | default dict)) "disabled" }}
{{- if and $disabled (include "dr-exporter.rights" . | fromYaml).asks }}
{{- fail "config.kubernetes.mode is disabled, and the configuration refers to the cluster (a workload's deployment or statefulset, a secret, a service, high_availability or site.identity)" }}
{{- end }}
{{- end }}
