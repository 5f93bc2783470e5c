"""Anderson and Farrell's systems, slow and obvious: the published laws, with NumPy's generator."""

import numpy as np


def singular_values(n, alpha, rng):
    """Pairs [n, 2] with sum(s1 + 2 s2) = alpha."""
    p, q = alpha, alpha - 3 * n + 3
    pairs = []
    for _ in range(n - 1):
        s1 = rng.uniform(max(0, q / 3), min(1, p))
        q -= s1
        p -= s1
        s2 = rng.uniform(max(0, q / 2), min(s1, p / 2))
        q += 3 - 2 * s2
        p -= 2 * s2
        pairs.append((s1, s2))
    s2 = rng.uniform(max(0, (p - 1) / 2), p / 3)
    pairs.append((p - 2 * s2, s2))
    return np.array(pairs)


def orthogonal(rng):
    """A rotation by U(-pi, pi) times random reflections."""
    angle = rng.uniform(-np.pi, np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation @ np.diag(rng.choice([-1.0, 1.0], 2))


def system(n, rng, sigma=None):
    """Maps [n, 2, 3]."""
    alpha = rng.uniform(*(sigma or ((5 + n) / 2, (6 + n) / 2)))
    maps = np.empty((n, 2, 3))
    for j, pair in enumerate(singular_values(n, alpha, rng)):
        maps[j, :, :2] = orthogonal(rng) @ np.diag(pair) @ orthogonal(rng)
        maps[j, :, 2] = rng.uniform(-1, 1, 2)
    return maps


def change(kind, maps, rng, strength=1):
    """One try of a jitter, maps [n, 2, 3] to maps."""
    maps, n = maps.copy(), len(maps)
    k = rng.integers(n)
    if kind == "basic":
        maps[k] *= rng.uniform(0.8, 1.1)
    elif kind == "svd":
        part = rng.integers(3)
        q = rng.uniform(-0.5, 0.5)
        turn = np.array([[np.cos(q), -np.sin(q)], [np.sin(q), np.cos(q)]])
        u, s, v = np.linalg.svd(maps[k, :, :2])
        if part == 2:
            maps[k, :, 2] += rng.uniform(-0.5, 0.5, 2)
        else:
            maps[k, :, :2] = turn @ u @ np.diag(s) @ v if part == 0 else u @ np.diag(s) @ turn @ v
    elif kind == "sval":
        pairs = np.linalg.svd(maps[:, :, :2], compute_uv=False)
        own, total, least = pairs[k] @ [1, 2], (pairs @ [1, 2]).sum(), (5 + n) / 2
        factor = rng.uniform((least - total + own) / own, (least + 0.5 - total + own) / own)
        maps[k, :, :2] *= factor
    else:
        factor = rng.choice(1 + 0.1 * strength * np.arange(-2, 3))
        for j in range(n):
            maps[j].reshape(-1)[rng.integers(6)] *= factor
    return maps


def jitter(kind, maps, rng, strength=1):
    """Up to four tries until no singular value exceeds 1, else the maps as they are."""
    for _ in range(4):
        changed = change(kind, maps, rng, strength)
        if np.linalg.svd(changed[:, :, :2], compute_uv=False).max() <= 1:
            return changed
    return maps
