{{/* What cannot work is refused with what to change; included by the ConfigMap, so that every render meets it. */}}
{{- define "wapipe.guards" -}}
{{- $lanes := include "wapipe.lanes" . | int -}}
{{- if gt (int .Values.sender.replicas) (max 1 $lanes) -}}
{{- fail (printf "sender.replicas: %d, but the numbers in config have %d lanes, and each belongs to one process; lower sender.replicas, or give a number more config.numbers.<id>.partitions" (int .Values.sender.replicas) $lanes) -}}
{{- end -}}
{{- $partitions := include "wapipe.recipientPartitions" . | int -}}
{{- $gates := ternary .Values.gate.autoscaling.maxReplicas .Values.gate.replicas .Values.gate.autoscaling.enabled | int -}}
{{- if gt $gates $partitions -}}
{{- fail (printf "gate: %d replicas, but config.kafka.recipient_partitions is %d and further ones would idle; lower gate.replicas (or gate.autoscaling.maxReplicas)" $gates $partitions) -}}
{{- end -}}
{{- range $role := list "gate" "sender" "ingress" "console" -}}
{{- $seconds := (index $.Values $role).terminationGracePeriodSeconds | int -}}
{{- if lt $seconds 60 -}}
{{- fail (printf "%s.terminationGracePeriodSeconds: %d, but finishing what is in hand takes up to 60 s; set at least 60" $role $seconds) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled -}}
{{- fail "monitoring: podMonitor and serviceMonitor would scrape everything twice; enable one of them" -}}
{{- end -}}
{{- range $role, $who := dict "ingress" "WhatsApp calls" "console" "people open" -}}
{{- $values := index $.Values $role -}}
{{- if and $values.route.enabled (not $values.route.hosts) -}}
{{- fail (printf "%s.route.hosts: empty; name the host that %s" $role $who) -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- fail (printf "%s.httpRoute.parentRefs: empty; name the Gateway" $role) -}}
{{- end -}}
{{- end -}}
{{- if .Values.console.enabled -}}
{{- $console := default (dict) .Values.config.console -}}
{{- if not (or $console.operator_token_file $console.viewer_token_file $console.proxy_user_header) -}}
{{- fail "config.console: nobody could log in, and others reach the page; set operator_token_file (a key of the Secret that secrets.console names) or proxy_user_header" -}}
{{- end -}}
{{- range $key := list "operator_token_file" "viewer_token_file" -}}
{{- if and (hasPrefix "/etc/wapipe/console/" (default "" (index $console $key))) (not $.Values.secrets.console) -}}
{{- fail (printf "secrets.console: empty, but config.console.%s is in it; name the Secret with the tokens" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := list "sasl.password" "ssl.key.password" "ssl.key.pem" "sasl.oauthbearer.client.secret" "ssl.keystore.password" -}}
{{- if hasKey (dig "kafka" "client" (dict) $.Values.config) $name -}}
{{- fail (printf "config.kafka.client.%s: is a secret; put it into a Secret, name that in secrets.kafka, and the file in config.kafka" $name) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "sasl_password_file" "ssl_ca_file" "ssl_cert_file" "ssl_key_file" "ssl_key_password_file" -}}
{{- if and (hasPrefix "/etc/wapipe/kafka/" (default "" (dig "kafka" $key "" $.Values.config))) (not $.Values.secrets.kafka) -}}
{{- fail (printf "secrets.kafka: empty, but config.kafka.%s is in it; name the Secret with the login and the certificates" $key) -}}
{{- end -}}
{{- end -}}
{{- range $number, $settings := default (dict) .Values.config.numbers -}}
{{- if and (hasPrefix "/etc/wapipe/whatsapp/" (default "" $settings.token_file)) (not $.Values.secrets.whatsapp) -}}
{{- fail (printf "secrets.whatsapp: empty, but config.numbers.%s.token_file is in it; name the Secret with the tokens" $number) -}}
{{- end -}}
{{- end -}}
{{- end -}}
