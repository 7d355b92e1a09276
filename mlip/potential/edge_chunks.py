"""Large structures through a model in parts, so that memory does not grow with their edges.

Takes the interaction blocks of a mace model; changes how they go through the edges of one call. Messages add up over
edges, so a block gives the sum of what it gives for parts of them; of each part only the input is kept, and the rest is
made again on the way back (T. Chen et al., doi:10.48550/arXiv.1604.06174). Energies and forces stay the same; a call
that is cut takes about as long again as its forward half.
"""

from typing import Any

ADDITIVE = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")  # linear in the sum of messages


def cut(model: Any, edges: int) -> None:
    """From now on a call of this model with more than twice so many edges goes through interactions in such parts.

    Blocks that are not linear in the sum of their messages stay whole.
    """
    for block in model.interactions:
        if type(block).__name__ in ADDITIVE:
            block.forward = _in_parts(block.forward, edges)


def _in_parts(whole: Any, limit: int) -> Any:
    from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

    def forward(*, edge_attrs: Any, edge_feats: Any, edge_index: Any, cutoff: Any = None, **nodes: Any) -> Any:
        edges = edge_index.shape[1]
        if edges <= 2 * limit:  # what it saves is not worth the time
            return whole(edge_attrs=edge_attrs, edge_feats=edge_feats, edge_index=edge_index, cutoff=cutoff, **nodes)
        size = -(-edges // -(-edges // limit))

        def part(first: int, feats: Any, *of_edges: Any) -> Any:
            attrs, radial, near = of_edges
            index = edge_index[:, first : first + size]
            return whole(
                edge_attrs=attrs, edge_feats=radial, edge_index=index, cutoff=near, **(nodes | {"node_feats": feats})
            )

        message = skip = None
        with set_checkpoint_early_stop(enable=False):  # compiled parts of the block do not let its exception through
            for first in range(0, edges, size):
                own = [None if x is None else x[first : first + size] for x in (edge_attrs, edge_feats, cutoff)]
                found, skip = checkpoint(
                    part, first, nodes["node_feats"], *own, use_reentrant=False, preserve_rng_state=False
                )
                message = found if message is None else message + found
        return message, skip

    return forward
