{{/* The pod of a role. Called with (dict "root" $ "role" "gate" "values" .Values.gate). */}}
{{- define "wapipe.pod" -}}
{{- $root := .root -}}
metadata:
  annotations:
    checksum/config: {{ include "wapipe.config" $root | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "wapipe.labels" . | nindent 4 }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "wapipe.serviceAccountName" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "wapipe.podSecurity" . | nindent 4 }}
  containers:
    - name: {{ .role }}
      image: {{ include "wapipe.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [{{ .role }}]
      env:
        {{- include "wapipe.env" $root | nindent 8 }}
      ports:
        - {name: http, containerPort: 9100}
        {{- if eq .role "ingress" }}
        - {name: webhooks, containerPort: {{ include "wapipe.ingressPort" $root }}}
        {{- end }}
        {{- if eq .role "console" }}
        - {name: page, containerPort: {{ include "wapipe.consolePort" $root }}}
        {{- end }}
      {{- include "wapipe.probes" . | nindent 6 }}
      {{- if eq .role "ingress" }}
      lifecycle:
        # Endpoints must have forgotten this pod before its socket closes.
        preStop: {sleep: {seconds: 5}}
      {{- end }}
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        {{- include "wapipe.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "wapipe.mounts" . | nindent 8 }}
        - {name: data, mountPath: /var/lib/wapipe}
  volumes:
    {{- include "wapipe.volumes" . | nindent 4 }}
    {{- if eq .role "console" }}
    - name: data
      persistentVolumeClaim: {claimName: {{ include "wapipe.fullname" $root }}-console}
    {{- else if ne .role "gate" }}
    - {name: data, emptyDir: {sizeLimit: 2Gi}}
    {{- end }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "wapipe.selector" $ | nindent 10 }}
    {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "wapipe.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "wapipe.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "wapipe.env" -}}
- {name: WAPIPE_CONFIG, value: /etc/wapipe/config/wapipe.toml}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Secrets that a role's pods get: the console neither sends nor hears webhooks, and its tokens are nobody else's. */}}
{{- define "wapipe.secrets" -}}
{{- ternary (list "console" "kafka") (list "whatsapp" "webhooks" "kafka") (eq .role "console") | toJson -}}
{{- end -}}

{{- define "wapipe.mounts" -}}
- {name: config, mountPath: /etc/wapipe/config, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- range $name := include "wapipe.secrets" . | fromJsonArray }}
{{- if index $.root.Values.secrets $name }}
- {name: {{ $name }}, mountPath: /etc/wapipe/{{ $name }}, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "wapipe.volumes" -}}
- name: config
  configMap: {name: {{ include "wapipe.fullname" .root }}}
- {name: tmp, emptyDir: {sizeLimit: 256Mi}}
{{- range $name := include "wapipe.secrets" . | fromJsonArray }}
{{- with index $.root.Values.secrets $name }}
- name: {{ $name }}
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end -}}

{{/* Liveness asks the process only, never Kafka or the API: an outage of theirs must not restart the fleet. */}}
{{- define "wapipe.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 5
  {{- if eq .role "gate" }}
  failureThreshold: {{ max 12 (div (int .values.restoreTimeoutSeconds) 5) }}
  {{- else }}
  failureThreshold: 60
  {{- end }}
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}
