"""Runs the trials of a search.

- `serial`: one trial after another in this process.
- `ray_tune`: workers of Ray Tune.
- `ray_cluster`: starts Ray on this machine or joins a cluster.
- `ray_scratch`: the folder of Ray's logs and sockets.
- `node_data`: gives the clips to workers on all nodes.
- `object_store`: copies the run's folder to object storage.
- `processes`: runs independent jobs, each in its own process.
"""
