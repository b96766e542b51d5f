{{/* An Ingress object or an HTTPRoute to the Service of a role.
     Called with (dict "root" $ "role" "ingress" "values" .Values.ingress "name" "wa" "path" "/webhook" "port" "webhooks"). */}}
{{- define "wapipe.route" -}}
{{- with .values.route }}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $.name }}
  labels:
    {{- include "wapipe.labels" $ | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range .hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: {{ $.path }}
            pathType: Prefix
            backend:
              service:
                name: {{ include "wapipe.fullname" $.root }}-{{ $.role }}
                port: {name: {{ $.port }}}
    {{- end }}
{{- end }}
{{- end }}
{{- with .values.httpRoute }}
{{- if .enabled }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ $.name }}
  labels:
    {{- include "wapipe.labels" $ | nindent 4 }}
spec:
  parentRefs:
    {{- toYaml .parentRefs | nindent 4 }}
  {{- with .hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path: {type: PathPrefix, value: {{ $.path }}}
      backendRefs:
        - name: {{ include "wapipe.fullname" $.root }}-{{ $.role }}
          port: {{ $.values.service.port }}
{{- end }}
{{- end }}
{{- end -}}
