{{- define "wapipe.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "wapipe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "wapipe.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "wapipe.selector" -}}
app.kubernetes.io/name: {{ include "wapipe.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "wapipe.labels" -}}
{{ include "wapipe.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: wapipe
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "wapipe.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "wapipe.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "wapipe.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The settings file: what pods must have (folders, addresses for the probes) under what the values say. */}}
{{- define "wapipe.config" -}}
{{- $fixed := dict "storage" (dict "data_dir" "/var/lib/wapipe") "http" (dict "host" "0.0.0.0" "port" 9100) -}}
{{- $config := mergeOverwrite (deepCopy $fixed) (deepCopy .Values.config) -}}
{{- $_ := set $config "http" (mergeOverwrite (deepCopy (default (dict) $config.http)) $fixed.http) -}}
{{- $_ := set $config "storage" $fixed.storage -}}
{{- if .Values.console.enabled -}}
{{- $_ := set $config "console" (mergeOverwrite (deepCopy (default (dict) $config.console)) (dict "host" "0.0.0.0")) -}}
{{- end -}}
{{- include "wapipe.whole" $config -}}
{{- toToml $config -}}
{{- end -}}

{{/* Numbers are floats to Helm, and librdkafka takes no 1.048576e+06: whole ones become integers, in place. */}}
{{- define "wapipe.whole" -}}
{{- range $name, $value := . -}}
{{- if kindIs "map" $value -}}
{{- include "wapipe.whole" $value -}}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{- $_ := set $ $name (int64 $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Number of lanes: the partitions of all numbers; one number may leave them out. */}}
{{- define "wapipe.lanes" -}}
{{- $lanes := list -}}
{{- range $number, $settings := default (dict) .Values.config.numbers -}}
{{- $lanes = concat $lanes (default (list 0) $settings.partitions) -}}
{{- end -}}
{{- len $lanes -}}
{{- end -}}

{{- define "wapipe.recipientPartitions" -}}
{{- dig "kafka" "recipient_partitions" 12 .Values.config | int -}}
{{- end -}}

{{- define "wapipe.ingressPort" -}}
{{- dig "ingress" "port" 8080 .Values.config | int -}}
{{- end -}}

{{- define "wapipe.consolePort" -}}
{{- dig "console" "port" 8090 .Values.config | int -}}
{{- end -}}

{{/* Roles that run in this release. */}}
{{- define "wapipe.roles" -}}
{{- concat (list "gate" "sender" "ingress") (ternary (list "console") (list) .Values.console.enabled) | toJson -}}
{{- end -}}

{{- define "wapipe.ingressPath" -}}
{{- dig "ingress" "path" "/webhook" .Values.config -}}
{{- end -}}

{{/* Partitions of lane topics: the highest pinned one, and all below it. */}}
{{- define "wapipe.lanePartitions" -}}
{{- $highest := 0 -}}
{{- range $number, $settings := default (dict) .Values.config.numbers -}}
{{- range $partition := default (list 0) $settings.partitions -}}
{{- $highest = max $highest (int $partition) -}}
{{- end -}}
{{- end -}}
{{- add $highest 1 -}}
{{- end -}}
