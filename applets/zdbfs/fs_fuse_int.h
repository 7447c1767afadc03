/*
 * fs_fuse_int: what the files of the FUSE face share. Handlers are called by libfuse's threads and answer each request once.
 */
#ifndef ZDBFS_FS_FUSE_INT_H
#define ZDBFS_FS_FUSE_INT_H

#include "applets/zdbfs/mount.h"

#define CACHE_SECONDS 3600.0

/* ---- fs_fuse.c ---- */
/* The mount that a request is for, counted as a request; counted: also as one of its kind. */
struct mount *mount_of(fuse_req_t req);
struct mount *mount_counted(fuse_req_t req, enum fuse_count kind);
struct fs_caller mount_caller(fuse_req_t req);
/* Answers: an error (our own codes mean nothing to programs: EIO), or what a call that ended with `rc` has given. */
void mount_reply_err(fuse_req_t req, struct mount *m, int rc);
void mount_reply_entry(fuse_req_t req, struct mount *m, int rc, const struct fs_attr *a);
void mount_reply_attr(fuse_req_t req, struct mount *m, int rc, const struct fs_attr *a);
void mount_to_stat(const struct fs_attr *a, struct stat *st);
void mount_to_entry(const struct fs_attr *a, struct fuse_entry_param *e);
/* The protocol's 32-bit form of a device number. */
uint32_t mount_pack_rdev(dev_t d);
/* 0, or why no file is opened (or made) now. */
int mount_refuses_open(const struct mount *m, bool writes);

/* ---- fs_fuse_name.c: names and directories ---- */
void mount_op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name);
void mount_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void mount_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void mount_op_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode,
		     struct fuse_file_info *fi);
void mount_op_tmpfile(fuse_req_t req, fuse_ino_t dir, mode_t mode, struct fuse_file_info *fi);
void mount_op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev);
void mount_op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode);
void mount_op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name);
void mount_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name);
void mount_op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name);
void mount_op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name);
void mount_op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t to_dir, const char *to,
		     unsigned int flags);
void mount_op_readlink(fuse_req_t req, fuse_ino_t ino);
void mount_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void mount_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void mount_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);

/* ---- fs_fuse_file.c: contents ---- */
void mount_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void mount_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void mount_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void mount_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		    struct fuse_file_info *fi);
void mount_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void mount_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void mount_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			struct fuse_file_info *fi);
void mount_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void mount_op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off, struct fuse_file_info *fi_from,
			      fuse_ino_t to, off_t to_off, struct fuse_file_info *fi_to, size_t len,
			      int flags);

#endif
