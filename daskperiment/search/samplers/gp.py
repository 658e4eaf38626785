"""Bayesian optimisation with a Gaussian process."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.optimize import fmin_l_bfgs_b

from daskperiment.search.samplers.cube import Array, Cube
from daskperiment.search.samplers.gaussian import GaussianProcess, shape_of
from daskperiment.search.samplers.surrogate import SurrogateSampler

import os
WARP=os.environ.get("WARP","none")
STARTS=int(os.environ.get("STARTS","4"))
STEPS=int(os.environ.get("STEPS","30"))
CAND=int(os.environ.get("CAND","500"))

def warp(y):
    y = (y-y.mean())/(y.std() or 1.0)
    if WARP=="none": return y
    if WARP=="clip":
        m=np.median(y); w=m-y.min(); 
        y=np.minimum(y,m+3*w)
    if WARP.startswith("log"):
        f=float(WARP[3:] or 1)
        m=np.median(y); w=(m-y.min()) or 1.0
        t=(y-y.min())/w
        y=np.log1p(t*f)
    if WARP=="yj":
        from sklearn.preprocessing import PowerTransformer
        y=PowerTransformer().fit_transform(y[:,None])[:,0]
    if WARP.startswith("ml"): pass
    return (y-y.mean())/(y.std() or 1.0)

class GPSampler(SurrogateSampler):
    name: ClassVar[str] = "gp"
    most = 300

    def _learn(self, cube, points, losses, running, rng):
        y = losses[~running]
        y = np.where(np.isnan(y), np.nanmax(y), y)
        X = points[~running]
        axes=[p.columns for p in cube.varying]
        y = warp(y)
        shape = shape_of(X, y, axes)
        gp = GaussianProcess(X, y, axes, shape)
        if running.any():
            y = np.append(y, gp.predict(points[running])[0])
            gp = GaussianProcess(points, y, axes, shape)
        gp.best = float(y.min())
        gp.y = y
        return gp

    def _search(self, cube, gp, points, losses, rng):
        acq=self.acquisition
        order=np.argsort(gp.y,kind="stable")[:5]
        scales=10.0**rng.uniform(-4,-0.5,size=CAND//2)
        cands=np.concatenate([cube.sample(CAND,rng), cube.near(points[order[np.arange(CAND//2)%len(order)]],scales,rng)])
        val=acq.of(*gp.predict(cands),gp.best)[0]
        top=np.argsort(-val,kind="stable")
        starts=cands[top[:STARTS]]
        if cube.continuous:
            starts=self._climb(cube,gp,starts)
        pool=np.concatenate([starts,cands[top]])
        val=np.concatenate([acq.of(*gp.predict(starts),gp.best)[0],val[top]])
        return pool[np.argsort(-val,kind="stable")]

    def _climb(self, cube, gp, starts):
        cols=cube.continuous
        acq=self.acquisition
        shape=(len(starts),len(cols))
        def f(v):
            pts=starts.copy(); pts[:,cols]=v.reshape(shape)
            m,s,dm,ds=gp.slopes(pts)
            val,bm,bs=acq.of(m,s,gp.best)
            g=(bm[:,None]*dm+bs[:,None]*ds)[:,cols]
            return -val.sum(), -g.ravel()
        v,_,_=fmin_l_bfgs_b(f,starts[:,cols].ravel(),bounds=[(0,1)]*(shape[0]*shape[1]),maxiter=STEPS,maxfun=2*STEPS)
        out=starts.copy(); out[:,cols]=v.reshape(shape)
        return cube.snap(out)
