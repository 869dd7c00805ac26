# The nodes' minions are let in before they start for the first time, on the master:
#
#   salt-run state.orchestrate diskless.orch.keys
#
# The boot servers make the keys, in the snapshots, so `state.apply diskless` comes before; only the
# public ones come to the master.
{%- set problem = salt["diskless.problem"]("master") %}
{%- set servers = [] if problem else salt["diskless.servers"]() %}

diskless pillar:
  diskless.valid:
    - role: master
    - failhard: true
{%- if servers %}

# Functions go by the pillar that a minion has in memory.
diskless pillar of boot servers:
  salt.function:
    - name: saltutil.refresh_pillar
    - tgt: {{ servers | json }}
    - tgt_type: list
    - expect_minions: true
    - kwarg:
        wait: true
    - failhard: true

diskless keys of nodes:
  salt.runner:
    - name: diskless.accept_keys
    - servers: {{ servers | json }}
    - failhard: true
{%- endif %}
