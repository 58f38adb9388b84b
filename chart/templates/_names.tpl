{{- define "tesk.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tesk.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "tesk.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tesk.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tesk.selector" -}}
app.kubernetes.io/name: {{ include "tesk.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tesk.labels" -}}
{{ include "tesk.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tesk.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tesk.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tesk.taskServiceAccount" -}}
{{- if .Values.tasks.serviceAccount.create }}
{{- default (printf "%s-task" (include "tesk.fullname" .)) .Values.tasks.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.tasks.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tesk.taskNamespace" -}}
{{- default .Release.Namespace .Values.tasks.namespace }}
{{- end }}

{{/* All namespaces in which tasks may run, as a JSON list. */}}
{{- define "tesk.taskNamespaces" -}}
{{- prepend .Values.tasks.otherNamespaces (include "tesk.taskNamespace" .) | uniq | toJson }}
{{- end }}

{{- define "tesk.image" -}}
{{- $image := .image -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{/* Image of the task that is run to see that all works. */}}
{{- define "tesk.testImage" -}}
{{- coalesce .Values.test.image (dig "defaults" "image" "" .Values.settings) "busybox:latest" }}
{{- end }}

{{- define "tesk.tokenSecret" -}}
{{- default (printf "%s-token" (include "tesk.fullname" .)) .Values.auth.token.existingSecret }}
{{- end }}

{{- define "tesk.sqlite" -}}
{{- if not (or .Values.database.url .Values.database.existingSecret) }}yes{{ end }}
{{- end }}

{{- define "tesk.claim" -}}
{{- if and (include "tesk.sqlite" .) .Values.persistence.enabled }}yes{{ end }}
{{- end }}

{{/* Whether root may give a claim to our user. */}}
{{- define "tesk.mayHandOver" -}}
{{- $auto := ternary "never" "always" (eq (dig "kubernetes" "security" "" .Values.settings) "restricted") }}
{{- $how := ternary $auto .Values.persistence.handOver (eq .Values.persistence.handOver "auto") }}
{{- if and .Values.podSecurityContext.runAsUser (eq $how "always") }}yes{{ end }}
{{- end }}

{{- define "tesk.handOver" -}}
{{- if and (include "tesk.claim" .) (include "tesk.mayHandOver" .) }}yes{{ end }}
{{- end }}

{{- define "tesk.handOverContainer" -}}
{{- $user := .Values.podSecurityContext.runAsUser -}}
- name: hand-over
  image: {{ include "tesk.image" (dict "image" .Values.image "root" .) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  # Some volumes let nobody do this, and are open to everybody as they are.
  command: [sh, -c, 'chown -R {{ int64 $user }}:{{ int64 (default $user .Values.podSecurityContext.fsGroup) }} /var/lib/tesk || true']
  securityContext:
    runAsUser: 0
    runAsNonRoot: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL], add: [CHOWN, DAC_OVERRIDE]}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 64Mi}
  volumeMounts:
    - {name: data, mountPath: /var/lib/tesk}
{{- end }}

{{/* Whose pods they are: the label `tesk/server`. A label has 63 letters; of two releases that are cut alike each has its own. */}}
{{- define "tesk.serverId" -}}
{{- $made := printf "%s.%s" .Release.Namespace (include "tesk.fullname" .) }}
{{- if gt (len $made) 63 }}
{{- $made = printf "%s-%s" (trunc 50 $made | trimAll ".-") (sha256sum $made | trunc 12) }}
{{- end }}
{{- default $made (dig "kubernetes" "server_id" "" .Values.settings) }}
{{- end }}

{{/* Whether some pods may come in Jobs that Kueue admits. */}}
{{- define "tesk.jobs" -}}
{{- $kubernetes := default dict .Values.settings.kubernetes }}
{{- if or $kubernetes.queue (contains "\"queue\":" (toJson $kubernetes.parameters)) (dig "preemptible" "queue" "" $kubernetes) }}yes{{ end }}
{{- end }}

{{/* Names under which programs of the cluster reach a service. */}}
{{- define "tesk.namesOf" -}}
{{- $full := printf "%s.%s" .service .root.Release.Namespace -}}
{{- list .service $full (printf "%s.svc" $full) (printf "%s.svc.cluster.local" $full) | toJson }}
{{- end }}

{{- define "tesk.serviceNames" -}}
{{- include "tesk.namesOf" (dict "service" (include "tesk.fullname" .) "root" .) }}
{{- end }}

{{/* Names under which clients come. */}}
{{- define "tesk.hostnames" -}}
{{- concat (include "tesk.serviceNames" . | fromJsonArray) .Values.ingress.hosts .Values.gateway.hostnames | uniq | toJson }}
{{- end }}

{{/* What cannot go together, said before anything is made. */}}
{{- define "tesk.check" -}}
{{- $many := or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled .Values.controllers.apart }}
{{- if and $many (include "tesk.sqlite" .) }}
{{- fail "more than one server (replicas, autoscaling, controllers.apart) needs PostgreSQL: give database.existingSecret or database.url" }}
{{- end }}
{{- if and .Values.database.url .Values.database.existingSecret }}
{{- fail "database.url and database.existingSecret are both given: keep one of them" }}
{{- end }}
{{- if and .Values.auth.enabled (not .Values.auth.token.name) (not .Values.auth.users) (not .Values.auth.tokens) }}
{{- fail "auth.enabled is true and nobody is named: give auth.token.name, auth.users or auth.tokens" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled is true and ingress.hosts is empty: name the host under which users come" }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) }}
{{- fail "gateway.enabled is true and gateway.parentRefs is empty: name the gateway" }}
{{- end }}
{{- include "tesk.checkListener" . }}
{{- range $key, $from := .Values.secretSettings }}
{{- if not (and $from.secret $from.key) }}
{{- fail (printf "secretSettings.%s: say in which secret it lies, and under which key: {secret: name, key: key}" $key) }}
{{- end }}
{{- end }}
{{- end }}
