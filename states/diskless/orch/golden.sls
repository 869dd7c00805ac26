# From the golden machines to what the nodes boot next, on the master:
#
#   salt-run state.orchestrate diskless.orch.golden
#   salt-run state.orchestrate diskless.orch.golden pillar='{"image": "rhel5compute"}'
#   salt-run state.orchestrate diskless.orch.golden pillar='{"image": "rhel5compute", "live": true}'
#
# Packages and states on the golden machines, a sync on every boot server of their images, and when
# all of them have the new version, publish. The first that fails ends it, with nothing published.
# With live the sync is one in place, into the published versions, and there is nothing to publish.
{%- set image = pillar.get("image") %}
{%- set live = pillar.get("live", false) %}
{%- set problem = salt["diskless.problem"]("master", image, live) %}
{%- set plan = [] if problem else salt["diskless_golden.orchestration"](image, live) %}
{%- set servers = plan | sum(attribute="servers", start=[]) | unique | sort %}
{%- set minions = plan | map(attribute="minion") | unique | sort %}

diskless pillar:
  diskless.valid:
    - role: master
    - image: {{ image | json }}
    - live: {{ live | json }}
    - failhard: true
{%- if plan %}

# Functions go by the pillar that a minion has in memory.
diskless pillar of minions:
  salt.function:
    - name: saltutil.refresh_pillar
    - tgt: {{ (minions + servers) | unique | sort | json }}
    - tgt_type: list
    - expect_minions: true
    - kwarg:
        wait: true
    - failhard: true

diskless golden machines:
  salt.state:
    - tgt: {{ minions | json }}
    - tgt_type: list
    - sls: diskless.golden
    - failhard: true

diskless tools of boot servers:
  salt.state:
    - tgt: {{ servers | json }}
    - tgt_type: list
    - sls: diskless.tools
    - failhard: true
{%- for one in plan %}

diskless keys for {{ one.image }}:
  salt.runner:
    - name: diskless.introduce
    - minion: {{ one.minion | json }}
    - servers: {{ one.servers | json }}
    - user: {{ one.user | json }}
    - failhard: true
{%- endfor %}
{%- for one in plan %}

diskless sync of {{ one.image }}:
  salt.function:
    - name: diskless_image.sync
    - tgt: {{ one.servers | json }}
    - tgt_type: list
    - expect_minions: true
    - arg:
      - {{ one.image | json }}
    - kwarg:
        {{ "live: true" if live else "publish: false" }}
    - failhard: true
{%- endfor %}
{%- for one in ([] if live else plan) %}

diskless publish {{ one.image }}:
  salt.function:
    - name: diskless_image.publish
    - tgt: {{ one.servers | json }}
    - tgt_type: list
    - expect_minions: true
    - arg:
      - {{ one.image | json }}
    - failhard: true
{%- endfor %}
{%- endif %}
