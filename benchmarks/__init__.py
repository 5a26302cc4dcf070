"""Measurements of hivemesh: `micro` times single rules and kernels, `compare` puts whole proxies side by side."""
