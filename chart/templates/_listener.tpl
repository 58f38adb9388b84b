{{- define "tesk.listener" -}}
{{ include "tesk.fullname" . }}-listener
{{- end }}

{{- define "tesk.listenerSelector" -}}
{{ include "tesk.selector" . }}
app.kubernetes.io/component: listener
{{- end }}

{{- define "tesk.listenerSecret" -}}
{{- default (include "tesk.listener" .) .Values.listener.existingSecret }}
{{- end }}

{{/* Names under which the cluster's own programs reach it. */}}
{{- define "tesk.listenerNames" -}}
{{- include "tesk.namesOf" (dict "service" (include "tesk.listener" .) "root" .) }}
{{- end }}

{{/* Where the cluster's own programs reach it. */}}
{{- define "tesk.listenerUrl" -}}
{{- $port := int .Values.listener.service.port -}}
http://{{ include "tesk.listener" . }}.{{ .Release.Namespace }}.svc{{ if ne $port 80 }}:{{ $port }}{{ end }}
{{- end }}

{{/* The variable with its database's URL: its own, or else the server's. */}}
{{- define "tesk.listenerDatabase" -}}
{{- $own := .Values.listener.database -}}
{{- $server := .Values.database -}}
{{- $from := dict -}}
{{- if $own.url }}{{ $from = dict "name" (printf "%s-config" (include "tesk.listener" .)) "key" "database-url" }}
{{- else if $own.existingSecret }}{{ $from = dict "name" $own.existingSecret "key" $own.existingSecretKey }}
{{- else if $server.url }}{{ $from = dict "name" (printf "%s-config" (include "tesk.fullname" .)) "key" "database-url" }}
{{- else if $server.existingSecret }}{{ $from = dict "name" $server.existingSecret "key" $server.existingSecretKey }}
{{- end }}
{{- if $from }}
- name: TESK_LISTENER_DATABASE
  valueFrom: {secretKeyRef: {{ $from | toJson }}}
{{- end }}
{{- end }}

{{- define "tesk.listenerClaim" -}}
{{- if and .Values.listener.persistence.enabled (not (include "tesk.listenerDatabase" .)) }}yes{{ end }}
{{- end }}

{{/* Its settings; `settings.listener` goes over what the chart decides. It gets nothing of what else the server knows. */}}
{{- define "tesk.listenerConfig" -}}
{{- $server := printf "http://%s.%s.svc:%d" (include "tesk.fullname" .) .Release.Namespace (int .Values.service.port) }}
{{- $given := omit (deepCopy (default dict .Values.settings.listener)) "keys" }}
{{- /* Subscriptions may have the release's own server asked, though its address is private. */}}
{{- $_ := set $given "servers" (concat (default (list "*") $given.servers) (include "tesk.serviceNames" . | fromJsonArray)) }}
{{- $made := dict "host" "0.0.0.0" "port" 8010 "url" (include "tesk.listenerUrl" .) "server" $server }}
{{- $log := mergeOverwrite (dict "format" "json") (deepCopy (default dict .Values.settings.log)) }}
{{- dict "data_dir" "/var/lib/tesk/data" "listener" (mergeOverwrite $made $given) "log" $log | toPrettyJson }}
{{- end }}

{{- define "tesk.listenerConfigSecret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "tesk.listener" . }}-config
  labels: {{- include "tesk.labels" . | nindent 4 }}
type: Opaque
stringData:
  listener.json: {{ include "tesk.listenerConfig" . | quote }}
  {{- with dig "listener" "keys" list .Values.settings }}
  keys: {{ join "," . | quote }}
  {{- end }}
  {{- with .Values.listener.database.url }}
  database-url: {{ . | quote }}
  {{- end }}
{{- end }}

{{/* What the server is told in `callbacks`, as JSON: it may call the listener, wherever else it may call. */}}
{{- define "tesk.listenerCallbacks" -}}
{{- $given := deepCopy (default dict .Values.settings.callbacks) }}
{{- $names := include "tesk.listenerNames" . | fromJsonArray }}
{{- $_ := set $given "allow" (concat (default list $given.allow) $names) }}
{{- if $given.hosts }}
{{- $_ := set $given "hosts" (concat $given.hosts $names) }}
{{- end }}
{{- $ports := default (list "80" "443" "1024-65535") $given.ports }}
{{- $_ := set $given "ports" (append $ports (toString .Values.listener.service.port) | uniq) }}
{{- $given | toJson }}
{{- end }}

{{/* A list in JSON, to which more is to be added. */}}
{{- define "tesk.beginning" -}}
{{- range . }}{{ toJson . }},{{ end }}
{{- end }}

{{/* Keys by which the server signs for the listener, and the token by which the listener asks it, beside all others. */}}
{{- define "tesk.listenerForServer" -}}
{{- if .Values.listener.enabled }}
{{- $config := printf "%s-config" (include "tesk.fullname" .) }}
{{- $secret := include "tesk.listenerSecret" . }}
{{- $keys := list }}
{{- range concat (include "tesk.listenerNames" . | fromJsonArray) .Values.listener.ingress.hosts | uniq }}
{{- $keys = append $keys (dict "secret" "$(LISTENER_KEY)" "host" .) }}
{{- end }}
- name: LISTENER_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: key}}
- name: OTHER_KEYS
  valueFrom: {secretKeyRef: {name: {{ $config }}, key: callback-keys}}
- name: TESK_CALLBACKS_KEYS
  value: {{ $keys | toJson | trimPrefix "[" | printf "[$(OTHER_KEYS)%s" | quote }}
{{- if .Values.auth.enabled }}
- name: LISTENER_TOKEN_HASH
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: server-token-hash}}
- name: OTHER_TOKENS
  valueFrom: {secretKeyRef: {name: {{ $config }}, key: tokens}}
- name: TESK_AUTH_TOKENS
  # Tasks are everybody's, so only an admin sees each; it may look, and that is all.
  value: '[$(OTHER_TOKENS){"name":"listener","token_hash":"$(LISTENER_TOKEN_HASH)","admin":true,"reads_only":true}]'
{{- end }}
{{- end }}
{{- end }}

{{/* What cannot go together. */}}
{{- define "tesk.checkListener" -}}
{{- if .Values.listener.enabled }}
{{- $settings := default dict .Values.settings.listener }}
{{- if and (gt (int .Values.listener.replicas) 1) (not (include "tesk.listenerDatabase" .)) }}
{{- fail "listener.replicas: more than one listener needs PostgreSQL: give listener.database.existingSecret or listener.database.url" }}
{{- end }}
{{- if and .Values.listener.database.url .Values.listener.database.existingSecret }}
{{- fail "listener.database.url and listener.database.existingSecret are both given: keep one of them" }}
{{- end }}
{{- if and .Values.listener.ingress.enabled (not .Values.listener.ingress.hosts) }}
{{- fail "listener.ingress.enabled is true and listener.ingress.hosts is empty: name the host under which clients come" }}
{{- end }}
{{- if not (dig "callbacks" "enabled" true .Values.settings) }}
{{- fail "listener.enabled is true and settings.callbacks.enabled is false: nobody would tell the listener of anything" }}
{{- end }}
{{- if $settings.database }}
{{- fail "settings.listener.database: give listener.database.existingSecret or listener.database.url" }}
{{- end }}
{{- if $settings.token }}
{{- fail "settings.listener.token: give listener.existingSecret, or keep the token that is made" }}
{{- end }}
{{- range $key, $_ := .Values.secretSettings }}
{{- if has $key (list "callbacks.keys" "auth.tokens") }}
{{- fail (printf "secretSettings.%s: with listener.enabled the chart adds to it; give settings.%s" $key $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
